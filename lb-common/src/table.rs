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
    port::{self, PortWord},
    settings::Settings,
    tables::{Ports, Shared, Words},
    tcp::{Numbers, State},
    tick::Tick,
};

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
const EARLY_WAYS: u32 = 2;

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

/// Who wants a source port.
pub struct PortRequest {
    /// Its entry.
    pub index: u32,
    /// The row to claim in.
    pub row: u16,
    /// The line of the row: see [`crate::walk`].
    pub line: u32,
    /// The numbers of its SYN: they decide whether the backend takes it on a port in TIME-WAIT.
    pub numbers: Numbers,
}

/// Claims a source port in one line of sixteen: one that is free, else one that has rested, else one whose
/// connection is over or never opened, and then takes the port from that connection, which ends it.
///
/// Returns the port.
#[inline(always)]
pub fn claim_port<S: Shared>(
    shared: &S,
    settings: &Settings,
    wanted: &PortRequest,
    now: Tick,
) -> Option<u16> {
    let port = claim_port_in_line(shared, settings, wanted, now);
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The port that was claimed in a line, or 0.
#[inline(never)]
fn claim_port_in_line<S: Shared>(
    shared: &S,
    settings: &Settings,
    wanted: &PortRequest,
    now: Tick,
) -> u32 {
    let number = wanted.line;
    let Some(line) = shared.line(wanted.row, number) else {
        return 0;
    };
    // Another one each time, so that each connection of the line is asked for its port at some time.
    let (start, hertz) = (wanted.index, settings.hertz);
    let ours = PortWord::held_by(wanted.index).0;
    let mut choice = 0;
    for at in 0..PORTS_PER_LINE {
        choice |= PortWord(line.load(at)).free_bit() << at;
    }
    if choice == 0 {
        let second = port::second(now, hertz);
        for at in 0..PORTS_PER_LINE {
            choice |= PortWord(line.load(at)).reusable_bit(wanted.numbers, second) << at;
        }
    }
    let at = next_of(choice, start);
    let word = line.load(at);
    let is_chosen = choice != 0 && PortWord(word).holder().is_none();
    if is_chosen && line.exchange(at, word, ours) {
        return port_of(number, at).into();
    }
    let Some(lender) = lender(shared, settings, wanted, &line, (number, start), now) else {
        return 0;
    };
    let Some(claim) = claim::<S>(&lender, now, hertz) else {
        return 0;
    };
    let port = u32::from(claim.source_port);
    let taken = line.exchange(port, PortWord::held_by(lender.index).0, ours);
    vacate::<S>(&claim);
    if taken { port } else { 0 }
}

/// The first bit of sixteen that is set, from `start` on and round.
#[inline(always)]
const fn next_of(bits: u32, start: u32) -> u32 {
    let turned = (bits | bits << PORTS_PER_LINE) >> (start % PORTS_PER_LINE);
    (turned.trailing_zeros() + start) % PORTS_PER_LINE
}

/// The part of a second that a connection has to be answered and acknowledged in, where its port is
/// wanted by another and no other port is free. In a flood of 140,000
/// SYNs a second a window is full after less: with an eighth of a second one honest connection of 20 lost
/// its port before it was open.
const SHORTEST_OPENING: u32 = 2;

/// Ports of a full line whose connections are looked at: each may be a cache miss. Where all of them are in
/// TIME-WAIT, each has an even chance to be lent, so that two are looked at and one line of 256 has none.
const LENDERS: u32 = 8;

/// Which connection of a full line loses its port: one that is over, or has not opened in time.
#[inline(always)]
fn lender<S: Shared>(
    shared: &S,
    settings: &Settings,
    wanted: &PortRequest,
    line: &S::Line,
    (number, start): (u32, u32),
    now: Tick,
) -> Option<Place<S::Entry>> {
    for step in 0..LENDERS {
        let at = (start + step) % PORTS_PER_LINE;
        let Some(index) = PortWord(line.load(at)).holder() else {
            continue;
        };
        if index == wanted.index {
            continue;
        }
        let Some(entry) = shared.entry(index) else {
            continue;
        };
        let stamp = Stamp::of_word(entry.load(WORD_STAMP));
        shared.order_loads();
        // Whoever claims the place with this stamp has the connection that holds this port.
        if claim_of(entry.load(WORD_PORTS)) != (port_of(number, at), wanted.row) {
            continue;
        }
        let numbers = Numbers::of_word(entry.load(WORD_NUMBERS));
        let age = now.since(stamp.seen);
        let hertz = settings.hertz;
        if stamp
            .state
            .port_reusable(age, hertz, numbers, wanted.numbers)
            || stamp.state.is_half_open() && age > hertz / SHORTEST_OPENING
        {
            return Some(Place {
                index,
                entry,
                stamp,
            });
        }
    }
    None
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "4,096 lines of sixteen ports"
)]
const fn port_of(line: u32, at: u32) -> u16 {
    (line * PORTS_PER_LINE + at) as u16
}
