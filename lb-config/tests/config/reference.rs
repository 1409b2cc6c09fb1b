//! The reference page agrees with the schemas of the parser.

use std::{env, fs, path::PathBuf};

/// If docs/configuration.md, the reference page, differs from the schemas,
/// `UPDATE=1 cargo test -p lb-config --test config reference` writes it anew.
#[test]
fn the_reference_page_is_what_the_parser_allows() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let generated = lb_config::reference_page();
    if env::var_os("UPDATE").is_some() {
        fs::write(&page, &generated).expect("docs/configuration.md can be written");
    }
    let written = fs::read_to_string(&page).unwrap_or_default();
    let differing = written
        .lines()
        .zip(generated.lines())
        .position(|(written, generated)| written != generated);
    assert!(
        written == generated,
        "docs/configuration.md differs from the parser's own tables, first on line {}; \
         regenerate it:\n\n    UPDATE=1 cargo test -p lb-config --test config reference\n",
        differing.unwrap_or_else(|| written.lines().count()) + 1,
    );
}
