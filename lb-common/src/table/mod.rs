//! The connection table: finding, claiming and vacating entries and source ports.
//!
//! Invariants that keep the table consistent without a lock, on any number of CPUs and while an
//! agent writes to it:
//!
//! - **An entry has one owner at a time.** The CPU that changes an entry's stamp to
//!   [`State::CLAIMED`] by compare-and-exchange owns the entry until it publishes or vacates it.
//!   The serial in the stamp grows with each claim, so that a stamp never recurs (no ABA problem).
//! - **A source port has one owner.** Its word in `source_ports` names an entry, or none: see
//!   [`PortWord`]. A free port is claimed by compare-and-exchange; afterwards only the owner of the
//!   entry changes the word. The owner releases the port of the previous connection before it
//!   publishes the next one. So a port names an entry exactly while that entry holds the port.
//! - **A connection is in one entry.** A writer makes its key visible, then looks for another entry
//!   with the same key; of two CPUs that write the same connection at the same time, at least one
//!   sees the other and withdraws.

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

/// An entry of the connection table: its index, and its stamp at the time of the lookup.
#[derive(Clone, Copy, Debug)]
pub struct Place<E> {
    /// Index of the entry in the map `connections`.
    pub index: u32,
    /// The entry of the connection table itself.
    pub entry: E,
    /// The state of the connection and the time of its last packet, as they were at the time of the
    /// lookup.
    pub stamp: Stamp,
}

/// A claimed entry of the connection table: only the CPU that claimed it may write to it.
#[derive(Clone, Copy, Debug)]
pub struct Claim<E> {
    /// The claimed entry, with its stamp while claimed.
    pub place: Place<E>,
    /// Row of the map `source_ports` with the source port that the entry's previous connection
    /// held; [`NO_ROW`] if it held none.
    pub row: u16,
    /// Source port of the entry's previous connection.
    pub source_port: u16,
    /// Word of the previous connection's source port in the map `source_ports` after its release.
    pub left: PortWord,
}

/// The two buckets of the connection table that may hold a connection.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Index of the first entry of each bucket.
    pub first: [u32; 2],
    /// Hash of the connection, from which the buckets are derived.
    pub hash: u64,
}

impl Buckets {
    /// Returns the two buckets of a connection. The second bucket is in the same page as the first,
    /// so it costs no additional address translation.
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

/// Reads the connection of an entry; `None` if the entry was claimed after `place.stamp` was read.
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

/// Whether the entry still holds the connection that it held when `place` was found.
#[inline(always)]
pub(crate) fn is_unchanged<S: Shared>(shared: &S, place: &Place<S::Entry>) -> bool {
    shared.order_loads();
    let now = Stamp::of_word(place.entry.load(WORD_STAMP));
    now.serial == place.stamp.serial
}

/// Returns the source port, and its row of the map `source_ports`, which word 1 of a connection's
/// entry contains.
#[inline(always)]
const fn claim_of(ports: u64) -> (u16, u16) {
    let [_, _, source_port, row]: [u16; 4] = zerocopy::transmute!(ports);
    (source_port, row)
}

/// Whether an entry holds this connection. The caller must have read the entry's stamp just before.
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

/// Reads the stamp of an entry; `None` past the end of the table, as for [`NONE`].
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

/// Claims an entry; `None` if another CPU changed its stamp first.
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
    // An unused or vacant entry holds no source port.
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

/// Orders all writes to a claimed entry before all later reads of other entries (a full barrier).
#[inline(always)]
pub fn fence_claim<S: Shared>(claim: &Claim<S::Entry>) {
    let stamp = claim.place.stamp.word();
    let _still_ours = claim.place.entry.exchange(WORD_STAMP, stamp, stamp);
}

/// Whether another entry holds the same connection as the claimed entry, or another CPU is writing
/// it there.
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
            // Entries are allocated in order, as [`find`] assumes too: no later entry of this
            // bucket was ever used, and no entry of the second bucket was.
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

/// Publishes a claimed entry with the state, mode and time of `stamp`.
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

/// Releases a claimed entry as vacant. The caller must have released the entry's source port
/// before.
#[inline(always)]
pub fn vacate<S: Shared>(claim: &Claim<S::Entry>) {
    let stamp = claim.place.stamp;
    let _ours = claim
        .place
        .entry
        .exchange(WORD_STAMP, stamp.word(), stamp.vacated().word());
}

/// Releases the source port of the previous connection of a claimed entry.
#[inline(always)]
pub fn release<S: Shared>(shared: &S, claim: &Claim<S::Entry>) {
    let port = (claim.row, claim.source_port);
    release_port(shared, claim.place.index, port, claim.left);
}

/// Releases a source port that the entry with this index holds, and stores `left` in the port's
/// word.
#[inline(always)]
pub fn release_port<S: Shared>(shared: &S, index: u32, (row, port): (u16, u16), left: PortWord) {
    if row == NO_ROW {
        return;
    }
    if let Some(line) = shared.line(row, u32::from(port) / PORTS_PER_LINE) {
        let _held = line.exchange(u32::from(port), PortWord::held_by(index).0, left.0);
    }
}
