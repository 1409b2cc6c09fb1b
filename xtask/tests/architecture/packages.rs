//! Tests that packages depend on each other only as `docs/architecture.md` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::{quoted, root, table};

/// Returns for each package the packages of this repository that it depends on, apart from
/// dependencies for tests only.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let ours: BTreeSet<_> = packages.clone().map(name).collect();
    packages
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let normal = dependencies.filter(|one| one["kind"].is_null()).map(name);
            (
                name(package),
                normal.filter(|one| ours.contains(one)).collect(),
            )
        })
        .collect()
}

#[test]
fn packages_depend_on_what_the_document_says() {
    let rows = table("| package | concern | depends on |");
    let documented: BTreeMap<_, BTreeSet<_>> = rows
        .iter()
        .map(|cells| {
            (
                quoted(&cells[1]).remove(0),
                quoted(&cells[3]).into_iter().collect(),
            )
        })
        .collect();
    assert_eq!(documented, dependencies());
}
