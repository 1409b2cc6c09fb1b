//! Removes what the peer no longer told of, once a pass over its whole table has been heard.

use std::{mem, thread, time::Duration};

use lb_common::flow::FlowKey;

use super::{Inner, counters::Tally, import::Outdated, table::FlowTable};
use crate::dataplane::Error;

/// Flows that are looked at in one go.
const SLICE: usize = 512;

/// How long a sweep pauses after a slice.
const PAUSE: Duration = Duration::from_millis(1);

/// Removes every outdated flow; ends early when another pass begins or this host turns active.
pub(super) fn run(inner: &Inner, outdated: &Outdated) {
    if let Err(error) = sweep(inner, outdated) {
        tracing::warn!("flows that ended at the peer stay until they are evicted: {error}");
    }
}

fn sweep(inner: &Inner, outdated: &Outdated) -> Result<(), Error> {
    let table = FlowTable::open(&inner.pins, inner.max_flows)?;
    let limit = table.room().saturating_mul(2);
    let mut slice = Vec::with_capacity(SLICE);
    for key in table.keys().take(limit) {
        let key = key?;
        // Only now, when the walk has gone on from them, may the keys before this one go.
        if slice.len() >= SLICE {
            if !remove(inner, &table, &mem::take(&mut slice), outdated)? {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        slice.push(key);
    }
    remove(inner, &table, &slice, outdated).map(|_goes_on| ())
}

/// Removes those of the flows that are outdated; returns whether the sweep is to go on.
fn remove(
    inner: &Inner,
    table: &FlowTable,
    keys: &[FlowKey],
    outdated: &Outdated,
) -> Result<bool, Error> {
    let mut candidates = Vec::new();
    for key in keys {
        if let Some(flow) = table.flow(key)?
            && outdated.holds(key, &flow)
        {
            candidates.push(*key);
        }
    }
    let mut importer = inner.importer();
    if !importer.stands_by(outdated) {
        return Ok(false);
    }
    let removed = importer.remove(&candidates, outdated)?;
    drop(importer);
    Tally::count(&inner.tally.removed, removed);
    Ok(true)
}
