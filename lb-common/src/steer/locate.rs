//! Finding the connection or service of a packet.

use crate::{
    backend::BackendId,
    connection::ClientKey,
    endpoint::{ENDPOINTS_PER_BUCKET, Endpoint, EndpointKey, EndpointKind},
    flow::FlowKey,
    limits::ENDPOINT_BUCKETS,
    listener,
    settings::Settings,
    table::{Buckets, Place, find, holder},
    tables::Tables,
    verdict::{PassReason, Verdict},
};

/// The connection or service that a packet belongs to.
pub(super) enum Located<E> {
    /// The packet is from the client of this connection.
    Client(Place<E>),
    /// The packet is from the backend of this connection.
    Backend(Place<E>),
    /// The packet may be for a service that the kernel steers, but belongs to no known connection.
    Steered,
    /// The packet may be for a service that the agent serves.
    Agent,
}

/// Finds the connection of a packet.
///
/// # Errors
/// The verdict on a packet of neither a connection nor a service.
#[inline(always)]
pub(super) fn locate<T: Tables>(
    tables: &T,
    settings: &Settings,
    key: &FlowKey,
) -> Result<Located<T::Entry>, Verdict> {
    let (word, bit) = listener::place(key.destination, key.destination_port);
    let listeners = tables.listeners(word);
    if listeners.steers(bit) {
        let key = ClientKey::of(key);
        if let Some(place) = find(tables, &key, &Buckets::of(&key, settings)) {
            return Ok(Located::Client(place));
        }
    }
    // The filter of listeners can give a false positive, so packets from a backend are recognised
    // whatever it says.
    if tables.is_source_port(key.destination_port)
        && let Some(endpoint) = endpoint(tables, key, key.destination)
    {
        return holder(tables, endpoint.row, key.destination_port)
            .map(Located::Backend)
            .ok_or(Verdict::Pass(PassReason::NoFlow));
    }
    if listeners.steers(bit) {
        return Ok(Located::Steered);
    }
    if listeners.has(bit) {
        return Ok(Located::Agent);
    }
    if settings.dnat != 0
        && let Some(endpoint) = endpoint(tables, key, [0; 4])
        && endpoint.kind == EndpointKind::Dnat as u16
    {
        let backend = tables
            .backend(BackendId(endpoint.row))
            .ok_or(Verdict::Pass(PassReason::NotAService))?;
        let key = ClientKey {
            client: key.destination,
            service: backend.service_address,
            client_port: key.destination_port,
            service_port: backend.service_port,
        };
        // If no connection is found, the backend itself connects to the client's address, or the
        // connection has ended: the packet is passed up unchanged, for the host to route.
        return find(tables, &key, &Buckets::of(&key, settings))
            .map(Located::Backend)
            .ok_or(Verdict::Pass(PassReason::NotAService));
    }
    Err(Verdict::Pass(PassReason::NotAService))
}

/// Returns the endpoint that sent a packet, if it is a backend that replies to `source`.
#[inline(always)]
fn endpoint<T: Tables>(tables: &T, key: &FlowKey, source: [u8; 4]) -> Option<Endpoint> {
    let wanted = EndpointKey {
        backend: key.source,
        source,
        port: key.source_port,
    };
    for bucket in wanted.buckets(ENDPOINT_BUCKETS) {
        let bucket = tables.endpoints(bucket)?;
        for at in 0..ENDPOINTS_PER_BUCKET {
            if wanted.is(&bucket.entries[at]) {
                return Some(bucket.entries[at]);
            }
        }
    }
    None
}
