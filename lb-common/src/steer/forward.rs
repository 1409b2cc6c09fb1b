//! Rewriting and forwarding packets.

use zerocopy::network_endian::U16;

use crate::{
    checksum,
    connection::{Connection, Rewrite, Stamp, WORD_STAMP},
    hop::Hop,
    memory::Memory,
    parse::Packet,
    settings::Settings,
    table::{Place, read},
    tables::{Tables, Words},
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, Steered, Verdict},
    wire::{Ethernet, Ipv4, Tcp},
};

use super::{Part, Step, TRUNCATED, hops};

/// The result for a packet that may change its connection: [`Part::Changing`] handles the packet.
const CHANGING: Step = Step::Next(Part::Changing);

/// Forwards a packet that does not change its connection. A packet that may change it, or whose
/// next hop must be looked up, is left to [`Part::Changing`].
#[inline(always)]
pub(super) fn unchanged<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    settings: &Settings,
    packet: &Packet,
    place: &Place<T::Entry>,
    direction: Direction,
) -> Result<Step, Verdict> {
    if !packet.flags.are_quiet() || !place.stamp.state.is_steady() {
        return Ok(CHANGING);
    }
    let Some(connection) = read(tables, place) else {
        return Ok(CHANGING);
    };
    let hop = match direction {
        Direction::In => hops::to_backend(tables, settings, connection.backend),
        Direction::Out => hops::to_client(tables, settings, place, &connection),
    };
    let Some(hop) = hop else {
        return Ok(CHANGING);
    };
    note_time(tables, settings, place);
    send(memory, tables, packet, &connection, &hop, direction).map(Step::Done)
}

/// Updates the recorded time of a connection's last packet once a second, so most packets write
/// nothing. All time-outs of connections are longer than a second.
#[inline(always)]
fn note_time<T: Tables>(tables: &T, settings: &Settings, place: &Place<T::Entry>) {
    let now = tables.now();
    let stamp = place.stamp;
    if now.since(stamp.seen) >= settings.hertz {
        let noted = Stamp { seen: now, ..stamp };
        let _newer = place.entry.exchange(WORD_STAMP, stamp.word(), noted.word());
    }
}

/// Rewrites a packet of a connection, counts it and returns its verdict.
#[inline(always)]
pub(super) fn send<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    packet: &Packet,
    connection: &Connection,
    hop: &Hop,
    direction: Direction,
) -> Result<Verdict, Verdict> {
    let verdict = egress_verdict(tables, Steered::Flow, hop)?;
    let change = match direction {
        Direction::In => connection.towards_backend(),
        Direction::Out => connection.towards_client(),
    };
    rewrite(memory, packet, &change, hop)?;
    let slot = TrafficSlot::of_backend(connection.backend);
    tables.count_traffic(slot, direction, packet.length, false);
    Ok(verdict)
}

/// Returns the verdict on a packet that leaves via this next hop.
#[inline(always)]
pub(super) fn egress_verdict<T: Tables>(
    tables: &T,
    how: Steered,
    hop: &Hop,
) -> Result<Verdict, Verdict> {
    if hop.interface == tables.ingress() {
        Ok(Verdict::Transmit(how))
    } else if tables.can_send(hop.interface) {
        Ok(Verdict::Redirect(how, hop.interface))
    } else {
        Err(Verdict::Drop(DropReason::NoInterface))
    }
}

/// Rewrites a packet for the other side of its connection. Parsing has shown that the headers are
/// complete; the bounds checks here prove it to the verifier again.
#[inline(always)]
pub(super) fn rewrite<M: Memory>(
    memory: &mut M,
    packet: &Packet,
    change: &Rewrite,
    hop: &Hop,
) -> Result<(), Verdict> {
    has_a_hop_left(packet)?;
    let tcp = memory.at_mut::<Tcp>(packet.transport).ok_or(TRUNCATED)?;
    tcp.source = U16::new(change.source_port);
    tcp.destination = U16::new(change.destination_port);
    tcp.checksum = U16::new(checksum::updated(tcp.checksum.get(), change.segment_delta));

    let ipv4 = memory.at_mut::<Ipv4>(packet.network).ok_or(TRUNCATED)?;
    ipv4.source = change.source;
    ipv4.destination = change.destination;
    ipv4.ttl = packet.ttl - 1;
    ipv4.checksum = U16::new(checksum::hop_less(
        ipv4.checksum.get(),
        change.address_delta,
    ));

    let ethernet = memory.at_mut::<Ethernet>(0).ok_or(TRUNCATED)?;
    ethernet.destination = hop.destination_mac;
    ethernet.source = hop.source_mac;
    Ok(())
}

#[inline(always)]
pub(super) const fn has_a_hop_left(packet: &Packet) -> Result<(), Verdict> {
    if packet.ttl > 1 {
        Ok(())
    } else {
        Err(Verdict::Drop(DropReason::TtlExpired))
    }
}

/// Reads the connection of an entry; returns a verdict if another CPU has claimed the entry.
#[inline(always)]
pub(super) fn read_or_contended<T: Tables>(
    tables: &T,
    place: &Place<T::Entry>,
) -> Result<Connection, Verdict> {
    read(tables, place).ok_or(Verdict::Drop(DropReason::Contended))
}
