//! Removes what the peer no longer told of, once a pass over its whole table has been heard.

use std::{thread, time::Duration};

use super::{Inner, counters::Tally, import::Outdated};
use crate::dataplane::Error;

/// Entries that are looked at in one go.
const SLICE: u32 = 16_384;

/// How long a sweep pauses after a slice.
const PAUSE: Duration = Duration::from_millis(1);

/// Removes every outdated connection; ends early when another pass begins or this host turns active.
pub(super) fn run(inner: &Inner, outdated: &Outdated) {
    if let Err(error) = sweep(inner, outdated) {
        tracing::warn!("connections that ended at the peer stay until they time out: {error}");
    }
}

fn sweep(inner: &Inner, outdated: &Outdated) -> Result<(), Error> {
    let entries = inner.connections.len();
    let mut first = 0;
    while first < entries {
        let end = entries.min(first + SLICE);
        let importer = inner.importer();
        if !importer.stands_by(outdated) {
            return Ok(());
        }
        let removed = importer.remove(
            first..end,
            outdated,
            (inner.clock.now()?, inner.clock.hertz()),
        );
        drop(importer);
        Tally::count(&inner.tally.removed, removed);
        thread::sleep(PAUSE);
        first = end;
    }
    Ok(())
}
