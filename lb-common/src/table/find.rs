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

/// Looks for the connection of a client's packets.
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
            // Entries are taken in order, so that what follows was never used either, and no connection
            // had to go to its second bucket.
            if way < EARLY_WAYS && stamp.state == State::UNUSED {
                return None;
            }
        }
    }
    None
}

/// Entries of a bucket that are taken before those of the second bucket. Of the others each is taken when
/// those before it are in use in both buckets: so a million connections in four million entries all find
/// room five times in six, where with three entries taken early two or three did not.
pub(super) const EARLY_WAYS: u32 = 2;

/// The connection that holds a source port.
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

/// Finds the entry that a new connection takes: one that was never used, else one whose connection is
/// over, else the oldest that never was established. Never one that holds an established connection.
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

/// No index of an entry.
pub(crate) const NONE: u32 = u32::MAX;

/// Set where a connection is lost with the entry that was chosen.
pub(crate) const REPLACES: u32 = 1 << 31;

/// The index of the entry to take, or [`NONE`]: one that is free among the first of either bucket, or
/// further on in either; else what is lost least, with [`REPLACES`].
///
/// Like all that is `inline(never)` here, a function of its own in the kernel's program, with a stack
/// frame of its own. It returns a number: what the verifier knows of a structure that holds pointers does
/// not survive its way through memory. And its loops carry as little as can be from one round to the
/// next, for the verifier walks each way through them that differs in what is carried.
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

/// Whether nothing is lost with what stands in an entry.
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

/// Whether a new connection may take an entry with this stamp, which was [`chosen`]. Another CPU may have
/// begun a connection there since: one that was chosen as vacant is not replaced.
#[inline(always)]
pub(crate) const fn is_free(stamp: Stamp, chosen: u32, now: Tick, hertz: u32) -> bool {
    stamp.state.is_vacant()
        || chosen & REPLACES != 0 && stamp.state.may_be_replaced()
        || stamp.state.is_live() && is_outdated(stamp, now, hertz)
}
