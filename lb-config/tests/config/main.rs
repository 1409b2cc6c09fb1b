//! The configuration's contract with its user: what is read, and what is said about mistakes.

mod acme;
mod admin;
mod backend;
mod balancing;
mod check;
mod dataplane;
mod document;
mod ha;
mod http;
mod listen;
mod log;
mod never_panics;
mod node;
mod pool;
mod reference;
mod room;
mod route;
mod service;
mod syntax;
mod timeouts;
mod tls;
mod valid;

use std::path::Path;

use lb_config::{Config, Errors, Parsed};

/// A file with a value of every kind, each line but one of its kind.
const BASE: &str = include_str!("base.toml");

fn parse(text: &str) -> Result<Parsed, Errors> {
    Config::parse(Path::new("lb.toml"), text)
}

/// [`BASE`] with `from`, which stands in it once, replaced.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(
        BASE.matches(from).count(),
        1,
        "{from:?} stands once in base.toml"
    );
    BASE.replace(from, to)
}

/// Asserts that [`BASE`] with `from` replaced by `to` is refused, in these words and no others.
#[track_caller]
fn refused(from: &str, to: &str, said: &str) {
    refused_text(&edited(from, to), said);
}

#[track_caller]
fn refused_text(text: &str, said: &str) {
    let errors = parse(text).expect_err("the file is refused");
    let rendered: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(ToString::to_string)
        .collect();
    let rendered = rendered.join("\n\n");
    assert_eq!(
        rendered,
        said.trim_matches('\n'),
        "this is what was said:\n\n{rendered}\n\n"
    );
}
