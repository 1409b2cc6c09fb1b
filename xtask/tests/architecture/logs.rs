//! Tests that log lines have a fixed message, so that they can be searched for and counted, and
//! fields for the variable parts.

use std::fs;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::{root, source::rust_files};

#[test]
fn log_messages_are_fixed_text() {
    let mut wrong = Vec::new();
    for package in ["lb-aws", "lb-config", "lb-userspace"] {
        for path in rust_files(&root().join(package).join("src")) {
            let text = fs::read_to_string(&path).expect("a source file");
            let syntax = syn::parse_file(&text).expect("Rust");
            let mut reader = Messages::default();
            reader.visit_file(&syntax);
            let variable = reader.0.into_iter().filter(|message| message.contains('{'));
            wrong.extend(variable.map(|message| format!("{}: {message}", path.display())));
        }
    }
    assert!(
        wrong.is_empty(),
        "give the variable parts of these messages as fields: `warn!(backend = %name, \"…\")`:\n{}",
        wrong.join("\n")
    );
}

/// The string literals in calls of the macros of the crate `tracing`.
#[derive(Default)]
struct Messages(Vec<String>);

impl<'ast> Visit<'ast> for Messages {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
        let segments = &call.path.segments;
        let is_level = segments
            .last()
            .is_some_and(|last| LEVELS.iter().any(|level| last.ident == level));
        let is_tracing = segments
            .first()
            .is_some_and(|first| first.ident == "tracing");
        if is_level && (is_tracing || segments.len() == 1) {
            self.0.extend(literals(call.tokens.clone()));
        }
        visit::visit_macro(self, call);
    }
}

/// Returns the string literals among a macro's arguments, except those inside brackets.
fn literals(tokens: TokenStream) -> Vec<String> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => Some(literal.to_string()),
        _ => None,
    });
    literals
        .filter(|text| text.starts_with(['"', 'r']))
        .collect()
}

#[test]
fn a_message_with_a_variable_part_is_found() {
    let call = syn::parse_str("fn f() { tracing::warn!(error = %e, \"no {x}\"); }").expect("Rust");
    let mut reader = Messages::default();
    reader.visit_file(&call);
    assert_eq!(reader.0, ["\"no {x}\""]);
}
