//! Updates BPF maps of maps.
//!
//! An update returns after every program that may have seen the old value has exited
//! (kernel/bpf/syscall.c, `maybe_wait_bpf_programs`). Waiting for that takes about ten
//! milliseconds. Concurrent updates wait at the same time.

use std::{os::fd::AsFd as _, thread};

use aya::maps::{ArrayOfMaps, Map, MapData, MapError};

use super::Error;

/// Number of updates of a map of maps that are made concurrently.
const UPDATES_AT_ONCE: usize = 64;

/// Sets entries of the map of maps with this name, each to an inner map, and returns when no
/// running XDP program can still use an inner map that was replaced.
pub(super) fn put(
    name: &'static str,
    outer: &MapData,
    entries: &[(u32, &MapData)],
) -> Result<(), Error> {
    if let [_] = entries {
        return put_in_turn(name, outer, entries);
    }
    let share = entries.len().div_ceil(UPDATES_AT_ONCE).max(1);
    thread::scope(|scope| {
        let updates: Vec<_> = entries
            .chunks(share)
            .map(|entries| scope.spawn(|| put_in_turn(name, outer, entries)))
            .collect();
        let lost = |_panic| {
            Err(Error::LostThread {
                map: name.to_owned(),
            })
        };
        let ended = updates
            .into_iter()
            .map(|one| one.join().unwrap_or_else(lost));
        ended.collect()
    })
}

fn put_in_turn(
    name: &'static str,
    outer: &MapData,
    entries: &[(u32, &MapData)],
) -> Result<(), Error> {
    let fd = outer.fd().as_fd().try_clone_to_owned();
    let map = MapData::from_fd(fd.map_err(Error::write_map(name))?);
    let map = Map::ArrayOfMaps(map.map_err(Error::write_map(name))?);
    let mut map: ArrayOfMaps<MapData, MapData> =
        map.try_into().map_err(Error::write_map::<MapError>(name))?;
    for (index, inner) in entries {
        map.set(*index, inner, 0).map_err(Error::write_map(name))?;
    }
    Ok(())
}
