//! The bill of materials: every crate that the binary is made of, in the format CycloneDX 1.5.
//!
//! It is made from `cargo metadata` and the lock file, without another tool: cargo-cyclonedx writes
//! a file for each package of the workspace, development dependencies included, and cargo-auditable
//! would build the binary again, with a wrapper around the compiler.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{checks::cargo, child, workspace::Workspace};

/// The packages whose dependencies are in the binary: the agent, and the XDP program inside it.
const ROOTS: [&str; 2] = ["lb-userspace", "lb-ebpf"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// The kind of the dependency: `None` for an ordinary one, otherwise `build` or `dev`.
    kind: Option<String>,
}

/// The part of `Cargo.lock` that the bill of materials uses.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Returns the bill of materials as JSON text, the same for each call with the same lock file.
///
/// # Errors
/// cargo failed, or the lock file cannot be read.
pub(super) fn document(workspace: &Workspace, version: &str) -> anyhow::Result<String> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = child::output(cargo(workspace).args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        &host,
    ]))?;
    let lock: Lock = toml::from_str(&fs::read_to_string(workspace.root.join("Cargo.lock"))?)?;
    let bill = bill(&serde_json::from_str(&metadata)?, &lock, version);
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

fn bill(metadata: &Metadata, lock: &Lock, version: &str) -> Value {
    let packages: BTreeMap<_, _> = (metadata.packages.iter())
        .map(|package| (package.id.as_str(), package))
        .collect();
    let checksums: BTreeMap<_, _> = (lock.package.iter())
        .filter_map(|locked| {
            let key = (locked.name.as_str(), locked.version.as_str());
            Some((key, locked.checksum.as_deref()?))
        })
        .collect();
    let edges = edges(&metadata.resolve);
    let used = reachable(&packages, &edges);
    let mut components: Vec<_> = (used.iter())
        .filter_map(|id| Some(component(packages.get(id)?, &checksums)))
        .collect();
    let mut dependencies: Vec<_> = (used.iter())
        .filter_map(|id| {
            let mut on: Vec<_> = (edges.get(id)?.iter())
                .filter_map(|id| Some(purl(packages.get(id)?)))
                .collect();
            on.sort();
            Some(json!({"ref": purl(packages.get(id)?), "dependsOn": on}))
        })
        .collect();
    components.sort_by_key(|one| one["purl"].to_string());
    dependencies.sort_by_key(|one| one["ref"].to_string());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": "lb",
            "name": "lb",
            "version": version,
            "licenses": [{"expression": "Apache-2.0 OR MIT"}],
        }},
        "components": components,
        "dependencies": dependencies,
    })
}

/// Returns, for the ID of each package, the IDs of its ordinary dependencies: those that only
/// builds or tests use are not in the binary.
fn edges(resolve: &Resolve) -> BTreeMap<&str, Vec<&str>> {
    let ordinary =
        |dependency: &&Dependency| (dependency.dep_kinds.iter()).any(|kind| kind.kind.is_none());
    (resolve.nodes.iter())
        .map(|node| {
            let on = node.deps.iter().filter(ordinary);
            (node.id.as_str(), on.map(|one| one.pkg.as_str()).collect())
        })
        .collect()
}

fn reachable<'a>(
    packages: &BTreeMap<&'a str, &'a Package>,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut next: Vec<_> = (packages.values())
        .filter(|package| ROOTS.contains(&package.name.as_str()))
        .map(|package| package.id.as_str())
        .collect();
    let mut used = BTreeSet::new();
    while let Some(id) = next.pop() {
        if used.insert(id) {
            next.extend(edges.get(id).into_iter().flatten());
        }
    }
    used
}

fn component(package: &Package, checksums: &BTreeMap<(&str, &str), &str>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
    });
    if let Some(licence) = &package.license {
        // Some crates separate alternative licences by a slash, as cargo once documented.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    let key = (package.name.as_str(), package.version.as_str());
    if let (Some(_), Some(checksum)) = (&package.source, checksums.get(&key)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_and_builds_use_is_not_in_the_bill() {
        let package = |name: &str| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                   "source": "registry"})
        };
        let on = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let names = ["lb-userspace", "used", "deep", "tested", "cc"];
        let metadata = json!({
            "packages": names.map(package),
            "resolve": {"nodes": [
                {"id": "lb-userspace", "deps": [
                    on("used", Value::Null), on("tested", json!("dev")), on("cc", json!("build")),
                ]},
                {"id": "used", "deps": [on("deep", Value::Null)]},
                {"id": "deep", "deps": []},
            ]},
        });
        let lock = json!({"package": [{"name": "deep", "version": "1.0.0", "checksum": "ab12"}]});
        let bill = bill(
            &serde_json::from_value(metadata).expect("metadata"),
            &serde_json::from_value(lock).expect("a lock file"),
            "2.0",
        );
        let found = bill["components"].as_array().expect("components");
        let found: Vec<_> = found.iter().map(|one| one["name"].as_str()).collect();
        assert_eq!(found, [Some("deep"), Some("lb-userspace"), Some("used")]);
        let deep = &bill["components"][0];
        assert_eq!(deep["hashes"][0]["content"], "ab12");
        assert_eq!(deep["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["metadata"]["component"]["version"], "2.0");
    }
}
