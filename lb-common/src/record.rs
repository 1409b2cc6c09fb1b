//! What hosts tell each other of a connection, so that either can carry it on: nothing in it is one
//! host's own, such as its clock, its numbers for backends and interfaces, or its next hops.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    connection::{Connection, NO_ROW},
    flow::FlowKey,
    tcp::State,
};

/// A connection that is steered: what the kernel writes into the ring `flow_events`, and what goes
/// to the peer.
///
/// The address that the backend sees is the service's own, so that its answers come to whichever
/// host has that address; only the port has to be told. One through a further address of the host
/// ([`crate::settings::Settings::source_addresses`]) is marked, and not told of over the link.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Record {
    /// The key of the client's packets: the client, and the service that it called.
    pub client: FlowKey,
    /// The backend's IPv4 address.
    pub backend: [u8; 4],
    /// The backend's port.
    pub backend_port: u16,
    /// The port that the backend sees.
    pub source_port: u16,
    /// A [`State`] as its number.
    pub state: u8,
    /// 1 where the backend sees another address than the service's: then no other host can carry the
    /// connection on, as the backend's answers go on coming to this one.
    pub further_source: u8,
    /// Seconds since the client's last packet, as far as the number goes.
    pub idle: u16,
    /// Zero.
    pub padding: u32,
}

const _CHECK: () = assert!(
    size_of::<Record>() == 32,
    "a record has no padding that the kernel could leave unset"
);

impl Record {
    /// The connection, in this state.
    #[must_use]
    #[inline(always)]
    pub const fn of(connection: &Connection, state: State) -> Self {
        Self {
            client: connection.key().flow(),
            backend: connection.backend_address,
            backend_port: connection.backend_port,
            source_port: connection.source_port,
            state: state.0,
            further_source: is_through_further_source(connection) as u8,
            idle: 0,
            padding: 0,
        }
    }

    /// The key of the backend's packets.
    #[must_use]
    pub const fn from_backend(&self) -> FlowKey {
        FlowKey {
            source: self.backend,
            destination: self.client.destination,
            source_port: self.backend_port,
            destination_port: self.source_port,
            protocol: self.client.protocol,
        }
    }
}

/// Whether NAT gave the connection another source address than the service's.
#[inline(always)]
const fn is_through_further_source(connection: &Connection) -> bool {
    let (source, service) = (connection.source, connection.service);
    connection.row != NO_ROW && u32::from_ne_bytes(source) != u32::from_ne_bytes(service)
}
