//! Tests of the configuration: which files are accepted, and the messages about files that are
//! refused.

mod acme;
mod admin;
mod backend;
mod balancing;
mod capacity;
mod check;
mod dataplane;
mod discover;
mod document;
mod effective;
mod ha;
mod http;
mod listen;
mod log;
mod never_panics;
mod node;
mod pool;
mod reference;
mod route;
mod service;
mod syntax;
mod timeouts;
mod tls;
mod valid;

use std::path::Path;

use lb_config::{Config, Errors, Parsed};

/// A file with a value of every kind, in which almost every line is unique.
const BASE: &str = include_str!("base.toml");

fn parse(text: &str) -> Result<Parsed, Errors> {
    Config::parse(Path::new("lb.toml"), text)
}

/// Returns [`BASE`] with the text `from`, which occurs in it once, replaced by `to`.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(
        BASE.matches(from).count(),
        1,
        "{from:?} occurs once in base.toml"
    );
    BASE.replace(from, to)
}

/// Asserts that [`BASE`] with `from` replaced by `to` is refused with exactly the `expected`
/// errors.
#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    refused_text(&edited(from, to), expected);
}

#[track_caller]
fn refused_text(text: &str, expected: &str) {
    let errors = parse(text).expect_err("the file is refused");
    let rendered: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(ToString::to_string)
        .collect();
    let rendered = rendered.join("\n\n");
    assert_eq!(
        rendered,
        expected.trim_matches('\n'),
        "the errors are:\n\n{rendered}\n\n"
    );
}
