//! Tests that the source has the structure that `docs/architecture.md` describes: which package and
//! which module (top-level module of the agent) may use which other, that files have no circular
//! dependencies, that names and paths in the document exist, and how long a file may be.

mod circles;
mod document;
mod length;
mod logs;
mod packages;
mod source;
mod top_modules;

use std::{fs, path::PathBuf};

/// Returns the path of the repository's root.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("a workspace").to_owned()
}

/// Returns the text of `docs/architecture.md`.
fn document() -> String {
    fs::read_to_string(root().join("docs/architecture.md")).expect("the document")
}

/// Returns the rows of the table in `docs/architecture.md` whose header line begins with `header`,
/// each row as its cells.
fn table(header: &str) -> Vec<Vec<String>> {
    let document = document();
    let mut lines = document.lines();
    lines
        .find(|line| line.starts_with(header))
        .unwrap_or_else(|| panic!("docs/architecture.md has no table {header}"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// Returns the parts of a text that are in backticks, without the backticks.
fn quoted(text: &str) -> Vec<String> {
    let words = text.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}
