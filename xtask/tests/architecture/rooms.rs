//! Tests that the rooms (top-level modules) of the agent use each other only as
//! `docs/architecture.md` says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    quoted,
    source::{Module, Package},
    table,
};

type Rooms = BTreeMap<String, BTreeSet<String>>;

/// Returns which rooms (top-level modules of the agent) each room may use, according to the table
/// `| room | concern | may use |` of `docs/architecture.md`.
fn allowed() -> Rooms {
    let rows = table("| room | concern | may use |");
    let rooms = rows.iter().map(|cells| {
        let room = quoted(&cells[1]).remove(0);
        (room, quoted(&cells[3]).into_iter().collect())
    });
    rooms.collect()
}

/// Returns which rooms (top-level modules of the agent) each room uses, according to the source
/// files.
fn used() -> Rooms {
    let sources = Package::read("lb-userspace");
    let mut rooms = Rooms::new();
    for (module, used) in sources.uses() {
        let Some(room) = room_of(module) else {
            continue;
        };
        let others = used
            .iter()
            .filter_map(room_of)
            .filter(|other| *other != room);
        rooms
            .entry(room.clone())
            .or_default()
            .extend(others.cloned());
    }
    rooms.remove("main");
    rooms
}

fn room_of(module: &Module) -> Option<&String> {
    module.first()
}

#[test]
fn a_room_uses_only_the_rooms_that_the_document_allows() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (room, used) in used() {
        let Some(may) = allowed.get(&room) else {
            wrong.push(format!("{room} is not in the table"));
            continue;
        };
        wrong.extend(
            used.difference(may)
                .map(|other| format!("{room} uses {other}")),
        );
        wrong.extend(
            may.difference(&used)
                .map(|other| format!("{room} no longer uses {other}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "docs/architecture.md and the sources differ:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_rooms_depend_on_each_other_in_one_direction() {
    let mut rooms = allowed();
    // This removes rooms (top-level modules of the agent) that use none of the remaining rooms,
    // until no more can be removed. Rooms that depend on each other in a circle remain.
    loop {
        let before = rooms.len();
        let left: BTreeSet<_> = rooms.keys().cloned().collect();
        rooms.retain(|_, may| may.iter().any(|other| left.contains(other)));
        if rooms.len() == before {
            break;
        }
    }
    assert!(
        rooms.is_empty(),
        "these rooms use each other in a circle: {rooms:#?}"
    );
}
