//! The connection table: finding, claiming and vacating entries and source ports.
//!
//! What keeps it right, on any number of CPUs and beside an agent that writes to it, without a lock:
//!
//! - **An entry has one owner at a time.** Whoever changes its stamp to [`State::CLAIMED`] by
//!   compare-and-exchange owns the entry until it publishes or vacates it. The serial in the stamp
//!   grows with each claim, so that a stamp is never met twice.
//! - **A source port has one owner.** Its word in `source_ports` names an entry, or none: see
//!   [`PortWord`]. From none to an entry it goes by compare-and-exchange; from an entry onwards it is
//!   changed by the owner of that entry alone. An owner gives the port of the old connection back
//!   before it publishes the next one. So a port names an entry exactly while that entry holds it.
//! - **A connection stands in one entry.** A writer makes its key visible, then looks whether
//!   another entry has it; of two that write the same connection at once at least one sees the
//!   other and gives way.

use crate::{
    connection::{
        ClientKey, Connection, NO_ROW, Stamp, WORD_CLIENT, WORD_NUMBERS, WORD_PORTS, WORD_STAMP,
        WORDS,
    },
    hash,
    limits::{PORTS_PER_LINE, WAYS},
    port::PortWord,
    settings::Settings,
    tables::{Ports, Shared, Words},
    tcp::{Numbers, State},
    tick::Tick,
};

mod find;
mod source_port;

use find::EARLY_WAYS;
pub(crate) use find::{NONE, REPLACES, chosen, is_free};
pub use find::{choose, find, holder};
pub use source_port::{PortRequest, claim_port};

/// A place in the table: an entry with its index, and its stamp as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Place<E> {
    /// The index in the map `connections`.
    pub index: u32,
    /// The entry.
    pub entry: E,
    /// Its stamp.
    pub stamp: Stamp,
}

/// An entry that belongs to whoever claimed it.
#[derive(Clone, Copy, Debug)]
pub struct Claim<E> {
    /// The place, with the stamp that it has while it is claimed.
    pub place: Place<E>,
    /// The row that the connection before claimed its source port in; [`NO_ROW`] if there was none.
    pub row: u16,
    /// The source port of the connection before.
    pub source_port: u16,
    /// What that port's word says once it is given back.
    pub left: PortWord,
}

/// The buckets that a connection may stand in.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Index of the first entry of each.
    pub first: [u32; 2],
    /// The hash that they follow from.
    pub hash: u64,
}

impl Buckets {
    /// The buckets of a connection: the second lies in the page of the first, so that looking there
    /// costs no other address translation.
    #[must_use]
    #[inline(always)]
    pub const fn of(key: &ClientKey, settings: &Settings) -> Self {
        let hash = hash::of_connection(key, settings.secret);
        #[expect(clippy::cast_possible_truncation, reason = "a mask follows")]
        let first = hash as u32 & settings.last_bucket;
        let away = ((hash >> 33) as u32 & 0xe | 1) * WAYS;
        Self {
            first: [first, (first ^ away) & settings.last_bucket],
            hash,
        }
    }
}

/// The connection as it stands in the entry, if nobody has claimed the entry since `stamp` was read.
#[inline(always)]
pub fn read<S: Shared>(shared: &S, place: &Place<S::Entry>) -> Option<Connection> {
    let entry = &place.entry;
    let words: [u64; WORDS] = [
        entry.load(0),
        entry.load(1),
        place.stamp.word(),
        entry.load(3),
        entry.load(4),
        entry.load(5),
        entry.load(6),
        entry.load(7),
    ];
    is_unchanged(shared, place).then(|| Connection::of_words(words))
}

/// Whether the entry holds the same connection as when `place` was found.
#[inline(always)]
pub(crate) fn is_unchanged<S: Shared>(shared: &S, place: &Place<S::Entry>) -> bool {
    shared.order_loads();
    let now = Stamp::of_word(place.entry.load(WORD_STAMP));
    now.serial == place.stamp.serial
}

/// The source port and the row in word 1.
#[inline(always)]
const fn claim_of(ports: u64) -> (u16, u16) {
    let [_, _, source_port, row]: [u16; 4] = zerocopy::transmute!(ports);
    (source_port, row)
}

/// Whether an entry whose stamp has just been read holds this connection.
#[inline(always)]
fn is_of<S: Shared>(shared: &S, entry: &S::Entry, key: &ClientKey) -> bool {
    shared.order_loads();
    holds(entry, key)
}

#[inline(always)]
fn holds<W: Words>(entry: &W, key: &ClientKey) -> bool {
    let [ports, _claim]: [u32; 2] = zerocopy::transmute!(entry.load(WORD_PORTS));
    entry.load(WORD_CLIENT) == key.addresses() && ports == key.ports()
}

/// The entry with this index, as it is now; `None` past the end, as [`NONE`] is.
#[inline(always)]
pub(crate) fn place_at<S: Shared>(shared: &S, index: u32) -> Option<Place<S::Entry>> {
    let entry = shared.entry(index)?;
    let stamp = Stamp::of_word(entry.load(WORD_STAMP));
    Some(Place {
        index,
        entry,
        stamp,
    })
}

/// Claims an entry; `None` where another CPU was faster.
#[inline(always)]
pub fn claim<S: Shared>(place: &Place<S::Entry>, now: Tick, hertz: u32) -> Option<Claim<S::Entry>> {
    let claimed = place.stamp.claimed(now);
    let ours = place
        .entry
        .exchange(WORD_STAMP, place.stamp.word(), claimed.word());
    if !ours {
        return None;
    }
    let (source_port, row) = claim_of(place.entry.load(WORD_PORTS));
    let before = place.stamp;
    // An entry that was never used, or was vacated, holds no port.
    let row = if before.state.is_live() { row } else { NO_ROW };
    let last = Numbers::of_word(place.entry.load(WORD_NUMBERS));
    let left = PortWord::after_release(before.state, last, before.seen, now, hertz);
    Some(Claim {
        place: Place {
            stamp: claimed,
            ..*place
        },
        row,
        source_port,
        left,
    })
}

/// Orders what was written to a claimed entry before what is read from others.
#[inline(always)]
pub fn fence_claim<S: Shared>(claim: &Claim<S::Entry>) {
    let stamp = claim.place.stamp.word();
    let _still_ours = claim.place.entry.exchange(WORD_STAMP, stamp, stamp);
}

/// Whether another entry holds the same connection, or is being written to hold it.
#[inline(never)]
pub fn is_duplicate<S: Shared>(
    shared: &S,
    claim: &Claim<S::Entry>,
    key: &ClientKey,
    buckets: &Buckets,
) -> bool {
    for bucket in buckets.first {
        for way in 0..WAYS {
            let index = bucket + way;
            if index == claim.place.index {
                continue;
            }
            let Some(entry) = shared.entry(index) else {
                return true;
            };
            let state = Stamp::of_word(entry.load(WORD_STAMP)).state;
            // As in `find`: nobody has taken an entry that follows, nor one of the second bucket.
            if way < EARLY_WAYS && state == State::UNUSED {
                return false;
            }
            if (state.is_live() || state == State::CLAIMED) && holds(&entry, key) {
                return true;
            }
        }
    }
    false
}

/// Publishes a claimed entry with this state, mode and time.
#[inline(always)]
pub fn publish<S: Shared>(claim: &Claim<S::Entry>, stamp: Stamp) -> Place<S::Entry> {
    let claimed = claim.place.stamp;
    let stamp = Stamp {
        serial: claimed.serial,
        ..stamp
    };
    let _ours = claim
        .place
        .entry
        .exchange(WORD_STAMP, claimed.word(), stamp.word());
    Place {
        stamp,
        ..claim.place
    }
}

/// Gives a claimed entry back empty. Its source port must have been given back before.
#[inline(always)]
pub fn vacate<S: Shared>(claim: &Claim<S::Entry>) {
    let stamp = claim.place.stamp;
    let _ours = claim
        .place
        .entry
        .exchange(WORD_STAMP, stamp.word(), stamp.vacated().word());
}

/// Gives the source port of what stood in a claimed entry back.
#[inline(always)]
pub fn release<S: Shared>(shared: &S, claim: &Claim<S::Entry>) {
    let port = (claim.row, claim.source_port);
    release_port(shared, claim.place.index, port, claim.left);
}

/// Gives a source port of the entry with this index back, and leaves that word.
#[inline(always)]
pub fn release_port<S: Shared>(shared: &S, index: u32, (row, port): (u16, u16), left: PortWord) {
    if row == NO_ROW {
        return;
    }
    if let Some(line) = shared.line(row, u32::from(port) / PORTS_PER_LINE) {
        let _held = line.exchange(u32::from(port), PortWord::held_by(index).0, left.0);
    }
}
