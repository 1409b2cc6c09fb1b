//! Tests that the top-level modules of the agent use each other only as
//! `docs/architecture.md` says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    quoted,
    source::{Module, Package},
    table,
};

type TopModules = BTreeMap<String, BTreeSet<String>>;

/// Returns which top-level modules of the agent each of them may use, according to the table
/// `| module | concern | may use |` of `docs/architecture.md`.
fn allowed() -> TopModules {
    let rows = table("| module | concern | may use |");
    let top_modules = rows.iter().map(|cells| {
        let top_module = quoted(&cells[1]).remove(0);
        (top_module, quoted(&cells[3]).into_iter().collect())
    });
    top_modules.collect()
}

/// Returns which top-level modules of the agent each of them uses, according to the source
/// files.
fn used() -> TopModules {
    let sources = Package::read("lb-userspace");
    let mut top_modules = TopModules::new();
    for (module, used) in sources.uses() {
        let Some(top_module) = top_module_of(module) else {
            continue;
        };
        let others = used
            .iter()
            .filter_map(top_module_of)
            .filter(|other| *other != top_module);
        top_modules
            .entry(top_module.clone())
            .or_default()
            .extend(others.cloned());
    }
    top_modules.remove("main");
    top_modules
}

fn top_module_of(module: &Module) -> Option<&String> {
    module.first()
}

#[test]
fn a_module_uses_only_the_modules_that_the_document_allows() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (top_module, used) in used() {
        let Some(may) = allowed.get(&top_module) else {
            wrong.push(format!("{top_module} is not in the table"));
            continue;
        };
        wrong.extend(
            used.difference(may)
                .map(|other| format!("{top_module} uses {other}")),
        );
        wrong.extend(
            may.difference(&used)
                .map(|other| format!("{top_module} no longer uses {other}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "docs/architecture.md and the sources differ:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_modules_depend_on_each_other_in_one_direction() {
    let mut top_modules = allowed();
    // This removes top-level modules of the agent that use none of the remaining ones,
    // until no more can be removed. TopModules that depend on each other in a circle remain.
    loop {
        let before = top_modules.len();
        let left: BTreeSet<_> = top_modules.keys().cloned().collect();
        top_modules.retain(|_, may| may.iter().any(|other| left.contains(other)));
        if top_modules.len() == before {
            break;
        }
    }
    assert!(
        top_modules.is_empty(),
        "these modules use each other in a cycle: {top_modules:#?}"
    );
}
