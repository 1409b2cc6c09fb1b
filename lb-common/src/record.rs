//! The portable form of a connection, from which the peer can continue it. It contains nothing that
//! is local to one host, such as its clock, its indices of backends and interfaces, or next hops.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    connection::{Connection, NO_ROW},
    flow::FlowKey,
    tcp::State,
};

/// A connection that the XDP program forwards to a backend, in the form in which the program writes
/// it to the ring buffer `flow_events`, and the agent sends it to the peer.
///
/// With full NAT, packets usually reach the backend from the service's own address, so its replies
/// reach whichever host has that address. That is why the record has the source port of these
/// packets, but no field for their source address. A connection whose packets reach the backend
/// from an additional address of the host ([`crate::settings::Settings::source_addresses`]) is
/// marked by [`Self::further_source`], and is not sent to the peer.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Record {
    /// Key of the client's packets: the client and the service.
    pub client: FlowKey,
    /// The backend's IPv4 address.
    pub backend: [u8; 4],
    /// The backend's port.
    pub backend_port: u16,
    /// The source port of packets that reach the backend.
    pub source_port: u16,
    /// The connection's [`State`] as a number.
    pub state: u8,
    /// 1 if packets reach the backend from an additional address of this host; otherwise 0. No
    /// other host can continue such a connection, because the backend's replies keep arriving at
    /// this host.
    pub further_source: u8,
    /// Seconds since the connection's last packet, at most 65,535.
    pub idle: u16,
    /// Always zero: padding.
    pub padding: u32,
}

const _CHECK: () = assert!(
    size_of::<Record>() == 32,
    "a record has no padding that the kernel could leave unset"
);

impl Record {
    /// Returns the record of a connection, with `state` in place of the state in its entry.
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

    /// Returns the key of the packets from the backend.
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

/// Whether packets reach the backend from an additional address of the host: neither from the
/// service's address nor from the client's.
#[inline(always)]
const fn is_through_further_source(connection: &Connection) -> bool {
    let (source, service) = (connection.source, connection.service);
    connection.row != NO_ROW && u32::from_ne_bytes(source) != u32::from_ne_bytes(service)
}
