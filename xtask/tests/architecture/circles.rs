//! Tests that no files depend on each other in a circle: such files could only be read, tested or
//! moved together.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Module, Package};

const PACKAGES: [&str; 9] = [
    "lb-aws",
    "lb-common",
    "lb-config",
    "lb-ha",
    "lb-import",
    "lb-userspace",
    "sim",
    "tests",
    "xtask",
];

#[test]
fn no_files_use_each_other_in_a_circle() {
    let found: Vec<_> = PACKAGES.into_iter().flat_map(circles_of).collect();
    assert!(
        found.is_empty(),
        "these files use each other in circles; move what both need into a file of its own:\n{}",
        found.join("\n")
    );
}

/// Returns the circular dependencies of a package, each as the paths of its files.
fn circles_of(package: &str) -> Vec<String> {
    let sources = Package::read(package);
    let uses = sources.uses().into_iter().map(|(module, used)| {
        let used = used.into_iter().filter(|used| !is_family(module, used));
        (module.clone(), used.collect())
    });
    let circles = circles(&uses.collect());
    let described = circles.iter().map(|circle| {
        let paths = circle.iter().map(|module| sources.path(module).display());
        let paths: Vec<_> = paths.map(|path| path.to_string()).collect();
        paths.join(", ")
    });
    described.collect()
}

/// Returns whether one of two modules is inside the other. Such modules count as one unit: the
/// outer module declares the inner one, which may use what the outer one provides for all modules
/// inside it.
fn is_family(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Returns each set of modules that can all reach each other by the modules that they use.
fn circles(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reachable: BTreeMap<_, _> = uses
        .keys()
        .map(|module| (module, reached(uses, module)))
        .collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (module, reached) in &reachable {
        if !reached.contains(*module) || found.iter().any(|circle| circle.contains(*module)) {
            continue;
        }
        let back = reached.iter().filter(|other| {
            let reached = reachable.get(other);
            reached.is_some_and(|reached| reached.contains(*module))
        });
        found.push(back.cloned().collect());
    }
    found
}

/// Returns the modules that `from` uses directly or through other modules. They include `from`
/// itself if modules use each other in a circle through it.
fn reached(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Module> = uses[from].iter().collect();
    while let Some(module) = open.pop() {
        if reached.insert(module.clone()) {
            open.extend(uses.get(module).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let uses = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("a"), module("d")])),
        (module("d"), BTreeSet::new()),
    ]);
    assert_eq!(
        circles(&uses),
        [BTreeSet::from(["a", "b", "c"].map(module))]
    );
}
