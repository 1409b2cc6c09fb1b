//! Removes the imported connections that the peer no longer has: those that were missing when it
//! last sent its whole connection table.

use std::{thread, time::Duration};

use super::{Inner, counters::Tally, import::Outdated};
use crate::dataplane::Error;

/// Number of entries of the connection table that are scanned in one batch.
const SLICE: u32 = 16_384;

/// How long the scan pauses after each batch of entries of the connection table.
const PAUSE: Duration = Duration::from_millis(1);

/// Removes the outdated connections: those that were missing when the peer last sent its whole
/// connection table in one pass. Ends early if another pass begins or this host becomes active.
pub(super) fn run(inner: &Inner, outdated: &Outdated) {
    if let Err(error) = sweep(inner, outdated) {
        tracing::warn!(%error, "cannot remove stale flows: they stay until they time out");
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
