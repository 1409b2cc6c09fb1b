//! Next hops of connections: looked up once, cached in a map, and looked up again when routes or
//! neighbours change.

use crate::{
    backend::BackendId,
    connection::{Connection, WORD_HOP},
    hop::{Hop, HopReference, NextHop, WORD_MAC},
    limits::{BACKENDS, CLIENT_HOPS},
    memory::Memory,
    settings::Settings,
    table::Place,
    tables::{Tables, Words, read_hop},
    verdict::DropReason,
    wire::Ethernet,
};

/// Returns the next hop to a backend; `None` if it must be looked up, because none is known, or
/// because routes or neighbours have changed since its lookup.
#[inline(always)]
pub(super) fn to_backend<T: Tables>(
    tables: &T,
    settings: &Settings,
    backend: BackendId,
) -> Option<Hop> {
    let hop = read_hop(&tables.hop(backend.index())?);
    hop.is_current(settings.generation).then_some(hop)
}

/// Returns the next hop to a backend as of its last lookup; `None` if no lookup has succeeded.
#[inline(always)]
pub(super) fn last_to_backend<T: Tables>(tables: &T, backend: BackendId) -> Option<Hop> {
    let hop = read_hop(&tables.hop(backend.index())?);
    (hop.interface != 0).then_some(hop)
}

/// Returns the next hop to the client of a connection; `None` if it must be looked up, because none
/// is known, or because routes or neighbours have changed since its lookup.
#[inline(always)]
pub(super) fn to_client<T: Tables>(
    tables: &T,
    settings: &Settings,
    place: &Place<T::Entry>,
    connection: &Connection,
) -> Option<Hop> {
    let reference = reference(place, connection)?;
    let hop = read_hop(&tables.hop(reference.hop.into())?);
    let current = reference.routes == routes(settings)
        && reference.hop_serial == hop.serial
        && hop.is_current(settings.generation);
    current.then_some(hop)
}

/// Returns the next hop to a backend, and looks it up if it is not current.
///
/// # Errors
/// The lookup fails, and no earlier lookup has succeeded.
#[inline(always)]
pub(super) fn find_to_backend<T: Tables>(
    tables: &T,
    settings: &Settings,
    backend: BackendId,
    (source, destination): ([u8; 4], [u8; 4]),
) -> Result<Hop, DropReason> {
    let entry = tables.hop(backend.index()).ok_or(DropReason::NoRoute)?;
    let known = read_hop(&entry);
    if known.is_current(settings.generation) {
        return Ok(known);
    }
    let found = renewed(tables, backend.index(), source, destination);
    let hop = read_hop(&entry);
    // If the lookup failed, keep using the previous next hop.
    if hop.interface != 0 {
        return Ok(hop);
    }
    Err(if found == NO_NEIGHBOUR {
        DropReason::NoNeighbour
    } else {
        DropReason::NoRoute
    })
}

const FOUND: u32 = 0;
const NO_NEIGHBOUR: u32 = 1;
const NO_ROUTE: u32 = 2;

/// Looks up the next hop of a backend and stores it in its entry of the map `hops`. Returns
/// [`FOUND`], [`NO_ROUTE`] or [`NO_NEIGHBOUR`]: a number, for the reason given at `table::chosen`.
#[inline(never)]
fn renewed<T: Tables>(tables: &T, index: u32, source: [u8; 4], destination: [u8; 4]) -> u32 {
    let (Some(entry), Some(settings)) = (tables.hop(index), tables.settings()) else {
        return NO_ROUTE;
    };
    match tables.next_hop(source, destination) {
        Ok(found) => {
            store_hop(&entry, &Hop::of(&found, 1, settings.generation));
            FOUND
        }
        Err(DropReason::NoNeighbour) => NO_NEIGHBOUR,
        Err(_) => NO_ROUTE,
    }
}

/// Returns the next hop to the client of a connection, and looks it up if it is not current.
///
/// # Errors
/// The lookup fails, and no earlier next hop is known.
#[inline(always)]
pub(super) fn find_to_client<T: Tables>(
    tables: &T,
    settings: &Settings,
    place: &Place<T::Entry>,
    connection: &Connection,
) -> Result<Hop, DropReason> {
    if let Some(hop) = to_client(tables, settings, place, connection) {
        return Ok(hop);
    }
    let index = look_up_route(tables, connection.service, connection.client);
    if index >= BACKENDS
        && let Some(entry) = tables.hop(index)
    {
        let hop = read_hop(&entry);
        set_next_hop(settings, place, connection, index16(index), &hop);
        return Ok(hop);
    }
    last_to_client(tables, place, connection).ok_or(if index == NO_NEIGHBOUR {
        DropReason::NoNeighbour
    } else {
        DropReason::NoRoute
    })
}

/// Looks up the next hop to a client. Returns the index of its entry, which is at least
/// [`BACKENDS`], or [`NO_ROUTE`] or [`NO_NEIGHBOUR`]. A number instead of a `Result`, because an
/// `inline(never)` function of the kernel's program can return only that.
#[inline(never)]
fn look_up_route<T: Tables>(tables: &T, source: [u8; 4], destination: [u8; 4]) -> u32 {
    let Some(settings) = tables.settings() else {
        return NO_ROUTE;
    };
    match tables.next_hop(source, destination) {
        Ok(found) => find_or_add(tables, &found, settings.generation).unwrap_or(NO_NEIGHBOUR),
        Err(DropReason::NoNeighbour) => NO_NEIGHBOUR,
        Err(_) => NO_ROUTE,
    }
}

/// Returns the last known next hop to a connection's client, current or not: it is used if no
/// current one is found.
#[inline(always)]
fn last_to_client<T: Tables>(
    tables: &T,
    place: &Place<T::Entry>,
    connection: &Connection,
) -> Option<Hop> {
    let reference = reference(place, connection)?;
    let hop = read_hop(&tables.hop(reference.hop.into())?);
    (reference.hop_serial == hop.serial).then_some(hop)
}

/// Returns a reference to the neighbour that a client's packet came from: the fallback if there is
/// no route to the client when the backend replies. Does not look up a route, because anyone can
/// send SYNs.
#[inline(always)]
pub(super) fn ingress_hop<M: Memory, T: Tables>(
    memory: &M,
    tables: &T,
    serial: u16,
) -> Option<HopReference> {
    let ethernet = memory.at::<Ethernet>(0)?;
    let index = ingress_hop_index(tables, ethernet.source, ethernet.destination);
    let Some(entry) = tables.hop(index).filter(|_entry| index >= BACKENDS) else {
        return Some(HopReference::none(serial));
    };
    Some(HopReference {
        hop: index16(index),
        hop_serial: read_hop(&entry).serial,
        serial,
        // 0 stands for "no route was looked up": a lookup precedes the use of this next hop.
        routes: 0,
    })
}

/// Returns the index of the entry of `hops` for the neighbour that a packet came from, or 0 if
/// there is no entry for it. The result is a number for the reason given at `table::chosen`.
#[inline(never)]
fn ingress_hop_index<T: Tables>(tables: &T, destination_mac: [u8; 6], source_mac: [u8; 6]) -> u32 {
    let came = NextHop {
        destination_mac,
        source_mac,
        interface: tables.ingress(),
        neighbour: [0; 4],
    };
    find_or_add(tables, &came, 0).unwrap_or(0)
}

/// Stores the reference to a next hop in a connection's entry, unless the entry was reused.
#[inline(always)]
fn set_next_hop<W: Words>(
    settings: &Settings,
    place: &Place<W>,
    connection: &Connection,
    index: u16,
    hop: &Hop,
) {
    let before: u64 = zerocopy::transmute!(connection.client_hop);
    let after = HopReference {
        hop: index,
        hop_serial: hop.serial,
        serial: place.stamp.serial,
        routes: routes(settings),
    };
    let _written = place.entry.exchange(WORD_HOP, before, after.word());
}

/// Returns the reference to a next hop in a connection's entry; `None` if the entry has none that
/// was written for this connection.
#[inline(always)]
fn reference<W>(place: &Place<W>, connection: &Connection) -> Option<HopReference> {
    let reference = HopReference::of_word(zerocopy::transmute!(connection.client_hop));
    let own = reference.hop != 0 && reference.serial == place.stamp.serial;
    own.then_some(reference)
}

/// Finds or adds the entry of a next hop towards clients, which connections share. Returns its
/// index; `None` if another CPU changes the entry at the same time.
///
/// Next hops that were taken from packets, which any host on the same network can forge, share the
/// first of the [`HOP_WAYS`] entries that a next hop may occupy; the other entries are for next
/// hops from route lookups.
#[inline(always)]
fn find_or_add<T: Tables>(tables: &T, hop: &NextHop, generation: u32) -> Option<u32> {
    let first = BACKENDS + place_of(hop) * HOP_WAYS;
    let routed = hop.neighbour != [0; 4];
    let (from, ways) = if routed { (1, HOP_WAYS) } else { (0, 1) };
    let mut index = first + ways - 1;
    for way in from..ways {
        let known = read_hop(&tables.hop(first + way)?);
        let same = known.interface == hop.interface
            && known.neighbour == hop.neighbour
            && (routed || known.destination_mac == hop.destination_mac);
        if same || known.serial == 0 {
            index = first + way;
            break;
        }
    }
    let entry = tables.hop(index)?;
    let known = read_hop(&entry);
    let same = known.interface == hop.interface && known.neighbour == hop.neighbour;
    if same && known.serial != 0 && routed {
        let fresh = Hop::of(hop, known.serial, generation);
        if fresh != known {
            store_hop(&entry, &fresh);
        }
        return Some(index);
    }
    if same && known.destination_mac == hop.destination_mac && known.serial != 0 {
        return Some(index);
    }
    let serial = known.serial.wrapping_add(1);
    let serial = if serial == 0 { 1 } else { serial };
    let fresh = Hop::of(hop, serial, generation);
    let (before, words) = (known.words(), fresh.words());
    // Only the CPU whose compare-and-exchange succeeds writes the remaining words of the entry.
    // References with the entry's previous serial number no longer match it.
    if !entry.exchange(WORD_MAC, before[WORD_MAC], words[WORD_MAC]) {
        return None;
    }
    for (word, value) in words.into_iter().enumerate().skip(WORD_MAC + 1) {
        entry.store(word, value);
    }
    Some(index)
}

/// Associativity of the map `hops`: number of entries that a next hop towards a client may occupy.
const HOP_WAYS: u32 = 8;

#[inline(always)]
fn place_of(hop: &NextHop) -> u32 {
    let [.., m2, m3, m4, m5] = hop.destination_mac;
    let bits = if hop.neighbour == [0; 4] {
        u32::from_ne_bytes([m2, m3, m4, m5])
    } else {
        u32::from_ne_bytes(hop.neighbour)
    };
    let spread = (bits ^ hop.interface.rotate_left(16)).wrapping_mul(0x9e37_79b1) >> 16;
    spread % (CLIENT_HOPS / HOP_WAYS)
}

#[inline(always)]
fn store_hop<W: Words>(entry: &W, hop: &Hop) {
    for (word, value) in hop.words().into_iter().enumerate() {
        entry.store(word, value);
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the map has fewer than 65,536 entries"
)]
const fn index16(index: u32) -> u16 {
    index as u16
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are compared")]
const fn routes(settings: &Settings) -> u16 {
    settings.routes as u16
}
