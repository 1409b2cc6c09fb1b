//! A new connection's two flows, and the source port that keeps it apart from all others.

use crate::{
    flow::{Flow, FlowKey, NextHop, Tick},
    hash,
    limits::SOURCE_PORT_TRIES,
    settings::Settings,
    tables::{Entry, Refused, Tables},
    traffic::Direction,
    verdict::Drop,
};

/// What a new connection is made of.
pub(crate) struct Connection<'a> {
    /// The key of the client's packets.
    pub(crate) client: &'a FlowKey,
    /// The backend's address and port.
    pub(crate) backend: ([u8; 4], u16),
    /// The backend's number.
    pub(crate) backend_id: u16,
    /// Towards the backend.
    pub(crate) there: NextHop,
    /// Towards the client.
    pub(crate) back: NextHop,
}

/// Writes both flows of a connection into the table and returns the client's.
///
/// The flow back goes first: its key holds the source port, and only one connection gets it.
#[inline(always)]
pub(crate) fn open<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: Tick,
    connection: &Connection<'_>,
) -> Result<Flow, Drop> {
    let client = connection.client;
    let (mut back_key, mut back) = flow_back(connection, settings.generation, now);
    take_source_port(
        tables,
        settings,
        now,
        hash::of_flow(client),
        &mut back_key,
        &mut back,
    )?;

    let mut there = Flow::begun(
        &back_key.turned(),
        &connection.there,
        settings.generation,
        (connection.backend_id, Direction::In),
        now,
    );
    there.rewrites(client);
    if tables.put_flow(client, &there).is_err() {
        tables.remove_flow(&back_key);
        return Err(Drop::TableFull);
    }
    tables.forget(client);
    Ok(there)
}

/// The backend's packets, but for the port that they are sent to.
#[inline(always)]
fn flow_back(connection: &Connection<'_>, generation: u32, now: Tick) -> (FlowKey, Flow) {
    let client = connection.client;
    let key = FlowKey {
        source: connection.backend.0,
        destination: client.destination,
        source_port: connection.backend.1,
        destination_port: 0,
        protocol: client.protocol,
    };
    let flow = Flow::begun(
        &client.turned(),
        &connection.back,
        generation,
        (connection.backend_id, Direction::Out),
        now,
    );
    (key, flow)
}

/// Tries ports from the hash on, until the table takes the flow under one that is free or whose
/// connection is gone.
#[inline(always)]
fn take_source_port<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: Tick,
    hash: u32,
    key: &mut FlowKey,
    flow: &mut Flow,
) -> Result<(), Drop> {
    let ports = u32::from(settings.source_ports);
    for attempt in 0..SOURCE_PORT_TRIES {
        if attempt >= ports {
            break;
        }
        // Below 65,536: the agent checked that the range ends there.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below a u16"
        )]
        let offset = (hash.wrapping_add(attempt) % ports) as u16;
        key.destination_port = settings.first_source_port.wrapping_add(offset);
        flow.rewrites(key);
        match tables.add_flow(key, flow) {
            Ok(()) => {
                tables.forget(key);
                return Ok(());
            }
            Err(Refused::Full) => return Err(Drop::TableFull),
            Err(Refused::Exists) => {}
        }
        if reclaim(tables, now, settings.hertz, key) {
            let put = tables.put_flow(key, flow);
            tables.forget(key);
            return put.map_err(|_refused| Drop::TableFull);
        }
    }
    Err(Drop::NoSourcePort)
}

/// Takes the port of a connection that is gone in both directions, the client's flow with it.
#[inline(always)]
fn reclaim<T: Tables>(tables: &T, now: Tick, hertz: u32, key: &FlowKey) -> bool {
    let Some(entry) = tables.flow(key) else {
        return false;
    };
    let old = entry.read();
    if !old.lends_its_port(now, hertz) {
        return false;
    }
    let client = old.partner(key.protocol);
    if let Some(entry) = tables.flow(&client) {
        // The client's key may belong to a newer connection by now, through another port.
        let there = entry.read();
        let same = there.source_port == key.destination_port && there.destination == key.source;
        if same && !there.lends_its_port(now, hertz) {
            return false;
        }
        if same && entry.claim(&there, now) {
            tables.remove_flow(&client);
            tables.forget(&client);
        }
    }
    entry.claim(&old, now)
}
