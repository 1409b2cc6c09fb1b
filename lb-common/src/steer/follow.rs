//! Packets of a known connection that may change it.

use crate::{
    connection::{Connection, Stamp, WORD_NUMBERS, WORD_STAMP},
    memory::Memory,
    parse::{Packet, acknowledgement, numbers},
    record::Record,
    settings::Settings,
    table::Place,
    tables::{Tables, Words},
    tcp::State,
    tick::Tick,
    traffic::Direction,
    verdict::{DropReason, Verdict},
};

use super::{
    forward::{has_a_hop_left, read_or_contended, send},
    hops,
    reopening::may_retry,
};

/// Forwards a packet of a known connection, and updates the connection's state.
#[inline(always)]
pub(super) fn follow<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    settings: &Settings,
    packet: &Packet,
    place: &Place<T::Entry>,
    direction: Direction,
) -> Result<Verdict, Verdict> {
    let connection = read_or_contended(tables, place)?;
    let stamp = place.stamp;
    let is_refusal =
        direction == Direction::Out && stamp.state.is_opening() && packet.flags.resets();
    if is_refusal && may_retry(tables, &connection, stamp) {
        let refused = Stamp {
            mode: stamp.mode.refused(),
            ..stamp
        };
        let _noted = place
            .entry
            .exchange(WORD_STAMP, stamp.word(), refused.word());
        return Err(Verdict::Drop(DropReason::Refused));
    }
    let hop = match direction {
        Direction::In => hops::find_to_backend(
            tables,
            settings,
            connection.backend,
            (connection.source, connection.backend_address),
        ),
        Direction::Out => hops::find_to_client(tables, settings, place, &connection),
    }
    .map_err(Verdict::Drop)?;
    has_a_hop_left(packet)?;
    if direction == Direction::In && packet.flags.finishes() {
        let (before, numbers) = (connection.numbers(), numbers(memory, packet));
        // The entry gets the sequence number that follows the client's FIN, and the FIN's TCP
        // timestamp, before the state of the connection changes: while the connection is
        // established, no CPU claims its entry for another connection. If a CPU has claimed the
        // entry already, the entry has other numbers than `before`, and is not changed here.
        let _noted = (place.entry).exchange(WORD_NUMBERS, before.word(), numbers.word());
    }
    let crosses = direction == Direction::Out
        && packet.flags.finishes()
        && (acknowledgement(memory, packet) != connection.client_sequence
            || is_late(stamp, tables.now(), settings.hertz));
    let verdict = send(memory, tables, packet, &connection, &hop, direction)?;
    let after = |before: State| {
        before
            .after(direction, packet.flags)
            .with_crossed_fins(crosses)
    };
    advance(tables, settings, place, &connection, after);
    Ok(verdict)
}

/// Whether a backend's FIN follows the client's so late that it may be a retransmission. The
/// backend's first FIN may have crossed the client's FIN and been lost; or Linux only pretended to
/// send it, as it does when memory is short (net/ipv4/tcp_output.c, `tcp_send_fin`).
#[inline(always)]
const fn is_late(stamp: Stamp, now: Tick, hertz: u32) -> bool {
    now.since(stamp.seen) >= hertz / SENT_AGAIN
}

/// Divisor of a second: a backend's FIN may be a retransmission if an eighth of a second or more
/// has passed since the client's FIN. Linux retransmits after a fifth of a second at the earliest
/// (include/net/tcp.h, `TCP_RTO_MIN`).
const SENT_AGAIN: u32 = 8;

/// Updates state and time of a connection in the table, as its packet requires.
#[inline(always)]
fn advance<T: Tables>(
    tables: &T,
    settings: &Settings,
    place: &Place<T::Entry>,
    connection: &Connection,
    state_after: impl Fn(State) -> State,
) {
    let now = tables.now();
    let mut stamp = place.stamp;
    // If another CPU updates the stamp of the entry at the same time, repeat once, starting from
    // the stamp that it wrote.
    for _attempt in 0..2 {
        let (before, after) = (stamp.state, state_after(stamp.state));
        let idle = now.since(stamp.seen) >= settings.hertz;
        if after == before && (!idle || before.is_opening()) {
            return;
        }
        let next = Stamp {
            state: after,
            seen: now,
            ..stamp
        };
        if place.entry.exchange(WORD_STAMP, stamp.word(), next.word()) {
            if after != before {
                export_change(tables, settings, connection, before, after);
            }
            return;
        }
        stamp = Stamp::of_word(place.entry.load(WORD_STAMP));
        if stamp.serial != place.stamp.serial {
            return;
        }
    }
}

#[inline(always)]
fn export_change<T: Tables>(
    tables: &T,
    settings: &Settings,
    connection: &Connection,
    before: State,
    after: State,
) {
    let concerns_peer = after.is_opened() && (before.is_opened() || !after.is_over());
    if concerns_peer && settings.export_enabled() {
        tables.export_record(&Record::of(connection, after));
    }
}
