//! Where a packet goes: parse, find its flow or begin one, rewrite, verdict.

use zerocopy::network_endian::U16;

use crate::{
    backend::Backend,
    checksum,
    flow::{Flow, FlowKey, Mac, NextHop, Tick},
    hash,
    memory::Memory,
    nat::{self, Connection},
    parse::{Packet, parse},
    record::Record,
    service::{Pick, Service},
    tables::{Entry, Tables},
    tcp::State,
    traffic::{Direction, TrafficSlot},
    verdict::{Drop, Pass, Steered, Verdict},
    wire::{Ethernet, Ipv4, Tcp},
};

/// Decides on one packet, rewrites it where it is steered, and counts it.
#[inline(always)]
pub fn steer<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Verdict {
    let verdict = match decide(memory, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    tables.count_verdict(verdict);
    verdict
}

#[inline(always)]
fn decide<M: Memory, T: Tables>(memory: &mut M, tables: &T) -> Result<Verdict, Verdict> {
    let packet = parse(memory)?;
    if !tables.concerns(packet.key.destination_port) {
        return Err(Verdict::Pass(Pass::NotAService));
    }
    if let Some(flow) = recalled(tables, &packet) {
        return forward(memory, tables, &packet, &flow);
    }
    let epoch = tables.epoch(&packet.key);
    if let Some(entry) = tables.flow(&packet.key)
        && let Some(flow) = current(memory, tables, &packet, &entry)?
    {
        let verdict = forward(memory, tables, &packet, &flow)?;
        advance(tables, &packet, &entry, &flow, epoch);
        return Ok(verdict);
    }
    steer_new(memory, tables, &packet)
}

/// The flow of an established connection that this CPU saw within the last second. What the
/// connection's end or the next generation change goes by the flow table.
#[inline(always)]
fn recalled<T: Tables>(tables: &T, packet: &Packet) -> Option<Flow> {
    if !packet.flags.are_quiet() {
        return None;
    }
    let flow = tables.recall(&packet.key)?;
    let settings = tables.settings()?;
    let fresh = tables.now().since(Tick(flow.seen)) < settings.hertz;
    (fresh && flow.generation == settings.generation).then_some(flow)
}

/// The flow in the entry, if it still goes on.
#[inline(always)]
fn current<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    packet: &Packet,
    entry: &T::Entry,
) -> Result<Option<Flow>, Verdict> {
    let mut flow = entry.read();
    let begins_anew = packet.flags.opens() && State(flow.state).is_over();
    if begins_anew {
        return Ok(None);
    }
    let settings = tables.settings().ok_or(Verdict::Pass(Pass::NotAService))?;
    let now = tables.now();
    // Noted to the second: most packets find nothing to write, and no time-out is as short.
    if now.since(Tick(flow.seen)) >= settings.hertz {
        if flow.is_gone(now, settings.hertz) {
            return Ok(None);
        }
        entry.set_seen(now);
    }
    if flow.generation != settings.generation {
        if wants_another_backend(tables, &flow) {
            return Ok(None);
        }
        if flow.hop().is_none() {
            lend_way_back(memory, tables, packet, &flow)?;
        }
        refresh(tables, settings.generation, entry, &mut flow)?;
    }
    Ok(Some(flow))
}

#[inline(always)]
fn wants_another_backend<T: Tables>(tables: &T, flow: &Flow) -> bool {
    State(flow.state).is_opening()
        && tables
            .backend(flow.backend.into())
            .is_none_or(|backend| backend.is_out())
}

/// Looks the next hop up again.
#[inline(always)]
fn refresh<T: Tables>(
    tables: &T,
    generation: u32,
    entry: &T::Entry,
    flow: &mut Flow,
) -> Result<(), Verdict> {
    let hop = match tables.next_hop(flow.source, flow.destination) {
        Ok(hop) => hop,
        // Without a better one the old next hop serves on: it worked until now.
        Err(why) => flow.hop().ok_or(Verdict::Drop(why))?,
    };
    flow.goes_by(&hop, generation);
    entry.set_next_hop(&hop, generation);
    Ok(())
}

/// The first packet from the client of a connection that came from the peer: should there be no
/// route to the client when the backend answers, the answer goes the way that this packet came.
#[inline(always)]
fn lend_way_back<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    packet: &Packet,
    flow: &Flow,
) -> Result<(), Verdict> {
    if flow.direction() == Direction::In
        && let Some(entry) = tables.flow(&flow.partner(packet.key.protocol))
    {
        let back = entry.read();
        if back.hop().is_none() {
            entry.set_next_hop(&way_it_came(memory, tables)?, back.generation);
        }
    }
    Ok(())
}

/// A packet of a flow that is known.
#[inline(always)]
fn forward<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    packet: &Packet,
    flow: &Flow,
) -> Result<Verdict, Verdict> {
    rewrite(memory, packet, flow)?;
    let slot = TrafficSlot::of_backend(flow.backend.into());
    tables.count_traffic(slot, flow.direction(), packet.length, false);
    Ok(sent(tables, Steered::Flow, flow.interface))
}

/// Notes in the table what a packet says of its connection; remembers one that just goes on.
#[inline(always)]
fn advance<T: Tables>(tables: &T, packet: &Packet, entry: &T::Entry, flow: &Flow, epoch: u32) {
    let before = State(flow.state);
    let after = before.after(flow.direction(), packet.flags);
    if after == before {
        if after == State::ESTABLISHED && packet.flags.are_quiet() {
            let seen = tables.now().0;
            tables.remember(&packet.key, &Flow { seen, ..*flow }, epoch);
        }
        return;
    }
    entry.set_state(after);
    tables.forget(&packet.key);
    let protocol = packet.key.protocol;
    let partner_key = flow.partner(protocol);
    if let Some(partner) = tables.flow(&partner_key)
        // The client may have begun another connection by now, by way of another port.
        && partner.read().partner(protocol) == packet.key
    {
        partner.set_state(after);
        tables.forget(&partner_key);
    }
    let (there, back) = match flow.direction() {
        Direction::In => (&packet.key, &partner_key),
        Direction::Out => (&partner_key, &packet.key),
    };
    let concerns_peer = before.is_opened() || after.is_opened() && !after.is_over();
    if concerns_peer && tables.settings().is_some_and(|settings| settings.tells()) {
        tables.tell(&Record::of(there, back, after));
    }
}

/// A packet without a flow.
#[inline(always)]
fn steer_new<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    packet: &Packet,
) -> Result<Verdict, Verdict> {
    let service = tables
        .service(&packet.key.service())
        .ok_or(Verdict::Pass(Pass::NotAService))?;
    let settings = tables.settings().ok_or(Verdict::Pass(Pass::NotAService))?;
    if packet.flags.opens() && settings.hold_new(tables.now()) {
        return Err(Verdict::Drop(Drop::Held));
    }
    if service.is_agents() {
        let slot = TrafficSlot::of_service(service.id);
        tables.count_traffic(slot, Direction::In, packet.length, packet.flags.opens());
        return Ok(Verdict::Pass(Pass::Agent));
    }
    if !packet.flags.opens() {
        return Err(Verdict::Pass(Pass::NoFlow));
    }
    let (backend_id, backend) =
        choose(tables, &service, &packet.key).ok_or(Verdict::Pass(Pass::NoBackend))?;
    let connection = Connection {
        client: &packet.key,
        backend: (backend.address, backend.port),
        backend_id,
        there: tables
            .next_hop(packet.key.destination, backend.address)
            .map_err(Verdict::Drop)?,
        back: hop_back(memory, tables, packet)?,
    };
    has_a_hop_left(packet)?;
    let flow = nat::open(tables, &settings, tables.now(), &connection).map_err(Verdict::Drop)?;
    rewrite(memory, packet, &flow)?;
    let slot = TrafficSlot::of_backend(backend_id.into());
    tables.count_traffic(slot, Direction::In, packet.length, true);
    Ok(sent(tables, Steered::NewFlow, flow.interface))
}

/// The backend for a new flow.
#[inline(always)]
fn choose<T: Tables>(tables: &T, service: &Service, key: &FlowKey) -> Option<(u16, Backend)> {
    if service.slots == 0 {
        return None;
    }
    let number = if service.pick == Pick::Turn as u8 {
        tables.turn(service.id)
    } else if service.pick == Pick::Source as u8 {
        hash::of_source(key)
    } else {
        hash::of_flow(key)
    };
    let id = tables.ring(service.id, number % service.slots)?;
    let backend = tables.backend(id)?;
    Some((u16::try_from(id).ok()?, backend))
}

/// The way back to the client: by route, or else the way that its packet came.
#[inline(always)]
fn hop_back<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    packet: &Packet,
) -> Result<NextHop, Verdict> {
    let key = &packet.key;
    if let Ok(hop) = tables.next_hop(key.destination, key.source) {
        return Ok(hop);
    }
    way_it_came(memory, tables)
}

#[inline(always)]
fn way_it_came<M: Memory, T: Tables>(memory: &M, tables: &T) -> Result<NextHop, Verdict> {
    let ethernet = memory.at::<Ethernet>(0).ok_or(TRUNCATED)?;
    Ok(NextHop {
        destination_mac: Mac::new(ethernet.source),
        source_mac: Mac::new(ethernet.destination),
        interface: tables.ingress(),
    })
}

#[inline(always)]
const fn has_a_hop_left(packet: &Packet) -> Result<(), Verdict> {
    if packet.ttl > 1 {
        Ok(())
    } else {
        Err(Verdict::Drop(Drop::TtlExpired))
    }
}

/// Gives a packet the addresses of its flow. The headers are there, as parsing has shown; the
/// checks say so to the verifier once more.
#[inline(always)]
fn rewrite<M: Memory>(memory: &mut M, packet: &Packet, flow: &Flow) -> Result<(), Verdict> {
    has_a_hop_left(packet)?;
    let tcp = memory.at_mut::<Tcp>(packet.transport).ok_or(TRUNCATED)?;
    tcp.source = U16::new(flow.source_port);
    tcp.destination = U16::new(flow.destination_port);
    tcp.checksum = U16::new(checksum::updated(tcp.checksum.get(), flow.segment_delta));

    let ipv4 = memory.at_mut::<Ipv4>(packet.network).ok_or(TRUNCATED)?;
    ipv4.source = flow.source;
    ipv4.destination = flow.destination;
    ipv4.ttl = packet.ttl - 1;
    ipv4.checksum = U16::new(checksum::updated(ipv4.checksum.get(), flow.address_delta));

    let ethernet = memory.at_mut::<Ethernet>(0).ok_or(TRUNCATED)?;
    ethernet.destination = flow.destination_mac.octets;
    ethernet.source = flow.source_mac.octets;
    Ok(())
}

#[inline(always)]
fn sent<T: Tables>(tables: &T, how: Steered, interface: u32) -> Verdict {
    if interface == tables.ingress() {
        Verdict::Transmit(how)
    } else {
        Verdict::Redirect(how, interface)
    }
}

const TRUNCATED: Verdict = Verdict::Drop(Drop::Truncated);
