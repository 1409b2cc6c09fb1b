//! The configuration's contract with its user: what is read, and what is said about mistakes.
use lb::config::Config;
use std::{fs, path::Path};
#[test]
fn the_example_file_parses() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/lb.toml");
    let parsed = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.warnings, []);
    println!("{:#?}", parsed.config);
    let _ = fs::read_to_string(&file);
}
