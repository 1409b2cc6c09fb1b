//! Finding the entry of a connection, and the entry for a new one.

use crate::{
    connection::{ClientKey, Stamp, WORD_PORTS, WORD_STAMP},
    limits::{PORTS_PER_LINE, WAYS},
    port::PortWord,
    tables::{Ports, Shared, Words},
    tcp::State,
    tick::Tick,
};

use super::{Buckets, Place, claim_of, is_of, place_at};

/// Finds the connection that a client's packets belong to; `None` if there is none in its buckets.
#[inline(always)]
pub fn find<S: Shared>(shared: &S, key: &ClientKey, buckets: &Buckets) -> Option<Place<S::Entry>> {
    for first in buckets.first {
        for way in 0..WAYS {
            let index = first + way;
            let entry = shared.entry(index)?;
            let stamp = Stamp::of_word(entry.load(WORD_STAMP));
            if stamp.state.is_live() && is_of(shared, &entry, key) {
                return Some(Place {
                    index,
                    entry,
                    stamp,
                });
            }
            // Entries are allocated in order: no later entry of this bucket was ever used, and no
            // connection needed the second bucket.
            if way < EARLY_WAYS && stamp.state == State::UNUSED {
                return None;
            }
        }
    }
    None
}

/// Number of early entries in a bucket, which are the first to be allocated. Each of the later
/// entries is allocated only when the ones before it are in use in both buckets. In runs of a
/// million connections in a table of four million entries, two early entries left no connection
/// without an entry five times in six; three left two or three connections without one.
pub(super) const EARLY_WAYS: u32 = 2;

/// Finds the connection that holds a source port; `None` if no connection holds it.
#[inline(always)]
pub fn holder<S: Shared>(shared: &S, row: u16, port: u16) -> Option<Place<S::Entry>> {
    let line = shared.line(row, u32::from(port) / PORTS_PER_LINE)?;
    let index = PortWord(line.load(u32::from(port))).holder()?;
    let entry = shared.entry(index)?;
    let stamp = Stamp::of_word(entry.load(WORD_STAMP));
    shared.order_loads();
    let holds = claim_of(entry.load(WORD_PORTS)) == (port, row);
    (holds && stamp.state.is_live()).then_some(Place {
        index,
        entry,
        stamp,
    })
}

/// Finds the entry for a new connection: an entry that was never used, else one whose connection is
/// over, else the one with the oldest connection that was never established. Never returns an entry
/// that holds an established connection.
#[inline(always)]
pub fn choose<S: Shared>(
    shared: &S,
    buckets: &Buckets,
    now: Tick,
    hertz: u32,
) -> Option<Place<S::Entry>> {
    let chosen = chosen(shared, buckets, now, hertz);
    let place = place_at(shared, chosen & !REPLACES)?;
    is_free(place.stamp, chosen, now, hertz).then_some(place)
}

/// Index that no entry of the connection table has: the result of a search that found no entry.
pub(crate) const NONE: u32 = u32::MAX;

/// Flag on an entry's index: the entry still holds a connection, which the new one replaces.
pub(crate) const REPLACES: u32 = 1 << 31;

/// Returns the index of the entry that a new connection is to claim: a free one among the first
/// [`EARLY_WAYS`] entries of either bucket, else a free one among the rest. If none is free, it is
/// the entry of a closed connection, else that of the connection that has been idle longest of
/// those that are over or were never established; the index then has the flag [`REPLACES`]. The
/// result is [`NONE`] if all entries hold established connections.
///
/// Like every `inline(never)` function here it is a BPF function with its own stack frame. It
/// returns a number, because the verifier loses track of pointers in a structure that passes
/// through memory. Its loops carry little state from one iteration to the next, because the
/// verifier explores every combination.
#[inline(never)]
pub(crate) fn chosen<S: Shared>(shared: &S, buckets: &Buckets, now: Tick, hertz: u32) -> u32 {
    for first in buckets.first {
        for way in 0..EARLY_WAYS {
            if is_vacant(shared, first + way, now, hertz) {
                return first + way;
            }
        }
    }
    for way in EARLY_WAYS..WAYS {
        for first in buckets.first {
            if is_vacant(shared, first + way, now, hertz) {
                return first + way;
            }
        }
    }
    let mut least = NONE;
    let mut age = 0;
    for first in buckets.first {
        for way in 0..WAYS {
            let Some(entry) = shared.entry(first + way) else {
                return NONE;
            };
            let stamp = Stamp::of_word(entry.load(WORD_STAMP));
            if stamp.state == State::CLOSED {
                return (first + way) | REPLACES;
            }
            let older = now.since(stamp.seen);
            if stamp.state.may_be_replaced() && older >= age {
                age = older;
                least = (first + way) | REPLACES;
            }
        }
    }
    least
}

/// Whether an entry is free: no live connection is lost if the entry is claimed.
#[inline(always)]
fn is_vacant<S: Shared>(shared: &S, index: u32, now: Tick, hertz: u32) -> bool {
    shared.entry(index).is_some_and(|entry| {
        let stamp = Stamp::of_word(entry.load(WORD_STAMP));
        is_free(stamp, 0, now, hertz)
    })
}

/// Whether a connection has been idle for longer than its state allows.
#[inline(always)]
const fn is_outdated(stamp: Stamp, now: Tick, hertz: u32) -> bool {
    now.since(stamp.seen) > stamp.state.timeout() * hertz
}

/// Whether a new connection may claim an entry with this stamp, which [`chosen`] returned. Another
/// CPU may have begun a connection there since: if the entry was chosen as vacant, that connection
/// is not replaced.
#[inline(always)]
pub(crate) const fn is_free(stamp: Stamp, chosen: u32, now: Tick, hertz: u32) -> bool {
    stamp.state.is_vacant()
        || chosen & REPLACES != 0 && stamp.state.may_be_replaced()
        || stamp.state.is_live() && is_outdated(stamp, now, hertz)
}
