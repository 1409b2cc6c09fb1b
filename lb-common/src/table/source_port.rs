//! Claiming a source port.

use crate::{
    connection::{Stamp, WORD_NUMBERS, WORD_PORTS, WORD_STAMP},
    limits::PORTS_PER_LINE,
    port::{self, PortWord},
    settings::Settings,
    tables::{Ports, Shared, Words},
    tcp::Numbers,
    tick::Tick,
};

use super::{Place, claim, claim_of, vacate};

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
