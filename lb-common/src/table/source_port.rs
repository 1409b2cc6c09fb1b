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

/// A request of a new connection for a source port.
pub struct PortRequest {
    /// Index of the connection's entry, which is to hold the port.
    pub index: u32,
    /// Row of the map `source_ports` to claim the port in.
    pub row: u16,
    /// Number of the line of sixteen source ports to claim the port in, within that row: see
    /// [`crate::walk`].
    pub line: u32,
    /// Sequence number and timestamp of the SYN: they decide whether the backend accepts it on a
    /// port in TIME-WAIT.
    pub numbers: Numbers,
}

/// Claims a source port in one line of sixteen source ports: a free port, else one that has rested,
/// else one whose connection is over or did not open in time. In the last case that connection is
/// removed from the table.
///
/// Returns the port, or `None` if no port of the line can be claimed.
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

/// Claims a port of a line of sixteen source ports. Returns the port, or 0 if no port of the line
/// can be claimed.
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
    // The search starts at another port each time, so every connection that holds a port of the
    // line is considered eventually.
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

/// Returns the position of the first of sixteen bits that is set, searching from `start` and
/// wrapping.
#[inline(always)]
const fn next_of(bits: u32, start: u32) -> u32 {
    let turned = (bits | bits << PORTS_PER_LINE) >> (start % PORTS_PER_LINE);
    (turned.trailing_zeros() + start) % PORTS_PER_LINE
}

/// Divisor of a second: a connection whose handshake is not complete within half a second loses its
/// source port if another connection needs it and no port is free. A flood of 140,000 SYNs a second
/// fills the 8,192 ports of a window of lines in less time; with an eighth of a second, one honest
/// connection of 20 lost its port before it was open.
const SHORTEST_OPENING: u32 = 2;

/// Number of ports whose connections are inspected in a line of sixteen source ports that are all
/// in use: each inspection may be a cache miss. If all of the connections are in TIME-WAIT, each
/// port can be reused with probability one half, so on average two are inspected, and one line in
/// 256 yields no port.
const LENDERS: u32 = 8;

/// Finds the connection that must give up its port in a line of sixteen source ports that are all
/// in use: one that is over, or that did not open in time. Returns `None` if there is no such
/// connection.
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
        // The stamp was read before this check: whoever claims the entry at this stamp claims the
        // connection that holds this port.
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
