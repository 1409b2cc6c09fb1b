//! Tests that the names and paths that `docs/architecture.md` mentions exist.

use std::{fs, path::Path};

use crate::{document, quoted, root, source::rust_files};

/// The directories that a path in `docs/architecture.md` may be relative to.
const BASES: [&str; 7] = [
    "",
    "docs",
    "lb-userspace/src",
    "lb-userspace",
    "lb-userspace/src/proxy",
    "lb-common/src",
    "lb-ha/src",
];

#[test]
fn every_path_in_the_document_exists() {
    let words = quoted(&document());
    let paths: Vec<_> = words
        .iter()
        .filter(|word| word.contains('/') || word.ends_with(".rs") || word.ends_with(".md"))
        .filter(|word| !word.contains([' ', '<', '$', '*', ':']) && !word.starts_with('/'))
        .filter(|word| !word.chars().any(char::is_uppercase))
        .collect();
    assert!(paths.len() > 20, "{paths:?}");
    let missing: Vec<_> = paths
        .iter()
        .filter(|path| !is_there(path))
        .filter(|path| !path.starts_with("target/"))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md names files that do not exist: {missing:#?}"
    );
}

/// Returns whether a path exists in one of [`BASES`]. A file name without a directory may be that
/// of a file in any top-level module of the agent.
fn is_there(path: &str) -> bool {
    let sources = || rust_files(&root().join("lb-userspace/src"));
    let from_a_base = |base| root().join(base).join(path).exists();
    BASES.into_iter().any(from_a_base)
        || (!path.contains('/') && sources().iter().any(|file| file.ends_with(path)))
}

#[test]
fn every_item_in_the_document_exists() {
    let words = quoted(&document());
    let items: Vec<_> = words.iter().filter(|word| is_item(word)).collect();
    assert!(items.len() > 10, "{items:?}");
    let missing: Vec<_> = items.iter().filter(|item| !exists(item)).collect();
    assert!(
        missing.is_empty(),
        "docs/architecture.md names items that do not exist: {missing:#?}"
    );
}

/// Returns whether a word is a Rust path of at least two names, such as `steer::locate` or
/// `lb_ha::pair::Host`.
fn is_item(word: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|letter| letter == '_' || letter.is_alphanumeric())
    };
    word.contains("::") && word.split("::").all(is_name) && !word.starts_with("std::")
}

/// Returns whether the last name of a Rust path is defined in a file that the names before it lead
/// to.
fn exists(item: &str) -> bool {
    let names: Vec<_> = item.split("::").collect();
    let (last, before) = names.split_last().expect("a name");
    let package = before[0].replace('_', "-");
    let (roots, modules) = if root().join(&package).join("Cargo.toml").is_file() {
        (vec![root().join(&package)], &before[1..])
    } else {
        let all = ["lb-common", "lb-ha", "lb-userspace", "lb-config", "lb-aws"];
        (all.map(|package| root().join(package)).to_vec(), before)
    };
    let candidates = roots.iter().flat_map(|root| rust_files(&root.join("src")));
    candidates
        .filter(|file| leads_to(file, modules) || leads_to(file, &[modules, &[last]].concat()))
        .any(|file| leads_to(&file, &[modules, &[last]].concat()) || defines(&file, last))
}

/// Returns whether the path of a file contains the names of these modules in sequence. Names of
/// types, which begin with a capital letter, are ignored.
fn leads_to(file: &Path, modules: &[&str]) -> bool {
    let path = file.with_extension("");
    let parts: Vec<_> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let modules: Vec<_> = modules
        .iter()
        .filter(|name| name.starts_with(|letter: char| letter.is_lowercase()))
        .collect();
    modules.is_empty()
        || parts.windows(modules.len()).any(|window| {
            window
                .iter()
                .zip(&modules)
                .all(|(part, name)| part == **name)
        })
}

fn defines(file: &Path, name: &str) -> bool {
    let text = fs::read_to_string(file).expect("a source file");
    let kinds = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "mod",
    ];
    let items = kinds.iter().any(|kind| {
        let item = format!("{kind} {name}");
        text.match_indices(&item).any(|(at, _)| {
            let after = text[at + item.len()..].chars().next();
            after.is_none_or(|letter| letter != '_' && !letter.is_alphanumeric())
        })
    });
    let is_field_or_variant = text.lines().any(|line| {
        let line = line
            .trim()
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ");
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([':', ',', '(', ' ']))
    });
    items || is_field_or_variant
}
