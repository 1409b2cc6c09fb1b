//! Removes what the peer no longer told of, once a pass over its whole table has been heard.

use std::{sync::PoisonError, thread, time::Duration};

use lb_common::flow::FlowKey;

use super::{Inner, counters::Tally, import::Outdated, table::FlowTable};
use crate::dataplane::Error;

/// Flows that are looked at in one go: the importer waits while those to go are removed.
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
    let mut keys = table.keys();
    let mut visited = 0;
    loop {
        let mut slice = keys
            .by_ref()
            .take(SLICE)
            .collect::<Result<Vec<FlowKey>, _>>()?;
        visited += slice.len();
        // The walk goes on from the last key, which therefore must not go while it does.
        let last = slice.pop();
        let mut candidates = Vec::new();
        for key in slice {
            if table
                .flow(&key)?
                .is_some_and(|flow| outdated.holds(&key, &flow))
            {
                candidates.push(key);
            }
        }
        let mut importer = inner
            .importer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !importer.stands_by(outdated) {
            return Ok(());
        }
        let removed = importer.remove(&candidates, outdated)?;
        drop(importer);
        Tally::count(&inner.tally.removed, removed);
        if last.is_none() || visited > table.room().saturating_mul(2) {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
}
