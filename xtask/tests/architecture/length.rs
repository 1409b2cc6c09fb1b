//! Tests that a file has at most 500 lines, unless its head gives a reason.

use std::fs;

use crate::{root, source::rust_files};

const MOST_LINES: usize = 500;

/// The text that comes before the reason at the head of a file of more than 500 lines.
const REASON: &str = "Longer than 500 lines";

#[test]
fn a_file_of_more_than_500_lines_gives_its_reason_at_its_head() {
    let mut wrong = Vec::new();
    for package in fs::read_dir(root()).expect("the repository") {
        let package = package.expect("an entry").path();
        if !package.join("Cargo.toml").is_file() {
            continue;
        }
        for file in rust_files(&package) {
            let text = fs::read_to_string(&file).expect("a source file");
            let lines = text.lines().count();
            let mut head = text.lines().take_while(|line| line.starts_with("//"));
            if lines > MOST_LINES && !head.any(|line| line.contains(REASON)) {
                wrong.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "split these files by concern, or say at the head \"{REASON}: …\":\n{}",
        wrong.join("\n")
    );
}
