//! Opening a connection: service, backend, source port and entry.

use crate::{
    backend::{Backend, BackendId},
    connection::{
        ClientKey, Mode, NO_ROW, Rewrite, Stamp, WORD_ADDRESSES, WORD_BACKEND, WORD_CLIENT,
        WORD_HOP, WORD_NUMBERS, WORD_PASS, WORD_PORTS, WORD_STAMP,
    },
    flow::FlowKey,
    hash,
    limits::{BACKEND_TRIES, LINE_TRIES},
    memory::Memory,
    parse::{Packet, numbers},
    port::PortWord,
    service::{Pick, Service},
    settings::Settings,
    table::{
        Buckets, Claim, NONE, Place, PortRequest, REPLACES, chosen, claim, claim_port, fence_claim,
        find, is_duplicate, is_free, place_at, publish, release, release_port, vacate,
    },
    tables::{Tables, Words},
    tcp::{Numbers, State},
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, PassReason, Steered, Verdict},
};

use super::{
    NOT_OURS,
    forward::{egress_verdict, has_a_hop_left, rewrite},
    hops,
    reopening::{Reopening, reopening},
};

/// Handles a packet without a known connection, or one that opens its connection again.
#[inline(always)]
pub(super) fn begin<M: Memory, T: Tables>(
    memory: &mut M,
    tables: &T,
    settings: &Settings,
    packet: &Packet,
) -> Result<Verdict, Verdict> {
    let key = ClientKey::of(&packet.key);
    let buckets = Buckets::of(&key, settings);
    fetch_ahead(tables, &buckets);
    let service = tables.service(&packet.key.service()).ok_or(NOT_OURS)?;
    if packet.flags.opens() && settings.hold_new(tables.now()) {
        return Err(Verdict::Drop(DropReason::Held));
    }
    if service.is_served_by_agent() {
        let slot = TrafficSlot::of_service(service.id);
        tables.count_traffic(slot, Direction::In, packet.length, packet.flags.opens());
        return Ok(Verdict::Pass(PassReason::Agent));
    }
    if !packet.flags.opens() {
        return Err(Verdict::Pass(PassReason::NoFlow));
    }
    if tables.ring(service.id, 0).is_none() {
        return Err(Verdict::Pass(PassReason::NoBackend));
    }
    has_a_hop_left(packet)?;
    let known = known(tables, &key);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let number = known as u32;
    if number == LATE {
        return Err(Verdict::Drop(DropReason::Contended));
    }
    let is_new = number == NONE;
    let again = !is_new && number & AGAIN != 0;
    let index = if is_new {
        chosen(tables, &buckets, tables.now(), settings.hertz)
    } else {
        number & !AGAIN
    };
    let place = place_at(tables, index & !REPLACES).ok_or(Verdict::Drop(DropReason::TableFull))?;
    // Another CPU may have changed the entry since this CPU chose it.
    let is_ours = if is_new {
        is_free(place.stamp, index, tables.now(), settings.hertz)
    } else {
        identity(place.stamp) == known >> 32
    };
    if !is_ours {
        return Err(Verdict::Drop(DropReason::Contended));
    }
    let claim = claim::<T>(&place, tables.now(), settings.hertz)
        .ok_or(Verdict::Drop(DropReason::Contended))?;
    let request = Request {
        key,
        hash: buckets.hash,
        service,
        numbers: numbers(memory, packet),
        avoid: again.then_some(backend_of(&place)),
    };
    let choice = match choose_backend(tables, settings, packet, &request, place.index) {
        Ok(choice) => choice,
        Err(why) => {
            give_back(tables, &place, &claim, again);
            return Err(why);
        }
    };
    let filled = fill(memory, tables, &claim, &request, &choice);
    let twice = is_new && is_duplicate(tables, &claim, &request.key, &buckets);
    let Some(change) = filled.filter(|_change| !twice) else {
        let (_address, port, row) = choice.source;
        release_port(tables, place.index, (row, port), PortWord::FREE);
        give_back(tables, &place, &claim, false);
        return Err(Verdict::Drop(DropReason::Contended));
    };
    release(tables, &claim);
    let stamp = Stamp {
        state: State::OPENING,
        mode: if again {
            place.stamp.mode.retried()
        } else {
            Mode(0)
        },
        serial: 0,
        seen: tables.now(),
    };
    publish::<T>(&claim, stamp);
    let how = if again {
        Steered::Retried
    } else {
        Steered::NewFlow
    };
    let hop = hops::last_to_backend(tables, choice.id).ok_or(Verdict::Drop(DropReason::NoRoute))?;
    let verdict = egress_verdict(tables, how, &hop)?;
    rewrite(memory, packet, &change, &hop)?;
    let slot = TrafficSlot::of_backend(choice.id);
    tables.count_traffic(slot, Direction::In, packet.length, true);
    Ok(verdict)
}

/// Prefetches the second entry of a new connection's first bucket, which is needed last, into the
/// CPU's cache; the first entry of that bucket is cached already.
#[inline(always)]
fn fetch_ahead<T: Tables>(tables: &T, buckets: &Buckets) {
    let _stamp = tables
        .entry(buckets.first[0] + 1)
        .map(|entry| entry.load(WORD_STAMP));
}

/// Flag on the index that [`known`] returns: the connection is retried at another backend.
const AGAIN: u32 = 1 << 31;
/// Returned by [`known`]: another CPU has opened the connection in the meantime.
const LATE: u32 = u32::MAX - 1;

/// Finds the entry that holds a connection with these addresses and ports. Returns its index, with
/// [`AGAIN`] if the connection is to be retried, and in the upper half the [`identity`] of the
/// stamp; [`NONE`] if there is no such entry, [`LATE`] if the packet does not open the connection
/// again. The result is a number, not a structure, for the reason given at `table::chosen`.
#[inline(never)]
fn known<T: Tables>(tables: &T, key: &ClientKey) -> u64 {
    let Some(settings) = tables.settings() else {
        return LATE.into();
    };
    let Some(place) = find(tables, key, &Buckets::of(key, settings)) else {
        return NONE.into();
    };
    let number = match reopening(tables, settings, &place) {
        Ok(Reopening::Replace) => place.index,
        Ok(Reopening::Retry) => place.index | AGAIN,
        Ok(Reopening::None) | Err(_) => return LATE.into(),
    };
    identity(place.stamp) << 32 | u64::from(number)
}

/// Returns a stamp without its time, in 32 bits: it identifies the connection of the entry and the
/// state of the connection.
#[inline(always)]
fn identity(stamp: Stamp) -> u64 {
    u64::from(stamp.state.0) | u64::from(stamp.mode.0) << 8 | u64::from(stamp.serial) << 16
}

/// What is known of a new connection before a backend is chosen for it.
struct Request {
    key: ClientKey,
    hash: u64,
    service: Service,
    numbers: Numbers,
    /// The backend that refused the connection or did not answer; `None` on the first try.
    avoid: Option<BackendId>,
}

/// Returns the backend whose index is in word 4 of a connection's entry.
#[inline(always)]
fn backend_of<W: Words>(place: &Place<W>) -> BackendId {
    let [_port, backend, _segment, _address]: [u16; 4] =
        zerocopy::transmute!(place.entry.load(WORD_BACKEND));
    BackendId(backend)
}

/// Writes all words of a claimed entry except its stamp: readers do not see the connection yet.
#[inline(always)]
fn fill<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    claim: &Claim<T::Entry>,
    request: &Request,
    choice: &Choice,
) -> Option<Rewrite> {
    let (source, source_port, row) = choice.source;
    let key = &request.key;
    let backend = tables.backend(choice.id)?;
    let backend = (backend.address, backend.port);
    let change = Rewrite::of(key, (source, source_port), backend);
    let hop = hops::ingress_hop(memory, tables, claim.place.stamp.serial)?;
    let entry = &claim.place.entry;
    entry.store(WORD_CLIENT, key.addresses());
    entry.store(WORD_PORTS, change.word_ports(key, row));
    entry.store(WORD_ADDRESSES, change.word_addresses());
    entry.store(WORD_BACKEND, change.word_backend(choice.id));
    entry.store(WORD_HOP, hop.word());
    entry.store(WORD_NUMBERS, request.numbers.word());
    entry.store(WORD_PASS, 0);
    fence_claim::<T>(claim);
    Some(change)
}

/// Undoes the claim of an entry: restores the connection that was to be retried (if `again` is
/// set), otherwise vacates the entry.
#[inline(always)]
fn give_back<T: Tables>(tables: &T, place: &Place<T::Entry>, claim: &Claim<T::Entry>, again: bool) {
    if again {
        publish::<T>(claim, place.stamp);
    } else {
        release(tables, claim);
        vacate::<T>(claim);
    }
}

/// A backend that was chosen for a new connection, with a source port.
struct Choice {
    id: BackendId,
    /// Source address and port that the backend sees, and the row of the port in `source_ports`.
    source: ([u8; 4], u16, u16),
}

/// Chooses a reachable backend with a free source port: the backend in the slot that the service's
/// method picks or, if that one is unsuitable, a backend in one of the following slots.
#[inline(always)]
fn choose_backend<T: Tables>(
    tables: &T,
    settings: &Settings,
    packet: &Packet,
    request: &Request,
    index: u32,
) -> Result<Choice, Verdict> {
    let service = &request.service;
    let number = slot_number(tables, service, &packet.key);
    let mut why = Verdict::Pass(PassReason::NoBackend);
    for attempt in 0..BACKEND_TRIES {
        let Some(id) = tables.ring(service.id, number.wrapping_add(attempt)) else {
            return Err(why);
        };
        if request.avoid == Some(id) {
            continue;
        }
        let Some(backend) = tables.backend(id) else {
            return Err(why);
        };
        let addresses = (request.key.service, backend.address);
        if let Err(reason) = hops::find_to_backend(tables, settings, id, addresses) {
            why = Verdict::Drop(reason);
            continue;
        }
        if let Some(source) = source(tables, settings, request, index, &backend) {
            return Ok(Choice { id, source });
        }
        why = Verdict::Drop(DropReason::NoSourcePort);
    }
    Err(why)
}

/// Returns the number of the slot at which the search for a backend begins.
#[inline(always)]
fn slot_number<T: Tables>(tables: &T, service: &Service, key: &FlowKey) -> u32 {
    match Pick::from_number(service.pick) {
        Pick::RoundRobin => tables.turn(service.id),
        Pick::SourceHash => hash::of_source(key),
        Pick::FlowHash => hash::of_flow(key),
    }
}

/// Claims a source port. Returns the address and port that the backend sees, and the port's row;
/// with DNAT, the client's own address and port. Returns `None` if no port could be claimed.
#[inline(always)]
fn source<T: Tables>(
    tables: &T,
    settings: &Settings,
    request: &Request,
    index: u32,
    backend: &Backend,
) -> Option<([u8; 4], u16, u16)> {
    let key = &request.key;
    if backend.dnat != 0 {
        return Some((key.client, key.client_port, NO_ROW));
    }
    let rows = u32::from(backend.rows).max(1);
    let first = (request.hash >> 32) as u32 % rows;
    for attempt in 0..LINE_TRIES {
        let which = (first + attempt) % rows;
        #[expect(clippy::cast_possible_truncation, reason = "fewer than ten rows")]
        let row = backend.row + which as u16;
        let turn = tables.line_turn(row);
        let turn = if attempt == 0 {
            turn
        } else {
            turn.next_window()
        };
        let wanted = PortRequest {
            index,
            row,
            line: turn.line(settings, tables.cpu())?,
            numbers: request.numbers,
        };
        if let Some(port) = claim_port(tables, settings, &wanted, tables.now()) {
            let address = if which == 0 {
                key.service
            } else {
                settings.source_addresses[(which as usize - 1) & 7]
            };
            return Some((address, port, row));
        }
        tables.miss(row, attempt > 0);
    }
    None
}
