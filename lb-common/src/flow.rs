//! Keys of flows: the common fields of all packets in one direction of a connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::service::ServiceKey;

/// Addresses, ports and protocol of a packet on arrival.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct FlowKey {
    /// IPv4 address of the sender.
    pub source: [u8; 4],
    /// IPv4 address of the receiver.
    pub destination: [u8; 4],
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// IP protocol number, 32 bits wide so that the key has no padding.
    pub protocol: u32,
}

const _CHECK: () = assert!(
    size_of::<FlowKey>() == 16,
    "the key of a flow is sixteen bytes"
);

impl FlowKey {
    /// Returns the key of packets in the other direction.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// Returns the key of the service that packets with this flow key are addressed to.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a protocol number has eight bits"
    )]
    pub const fn service(&self) -> ServiceKey {
        ServiceKey {
            address: self.destination,
            port: self.destination_port,
            protocol: self.protocol as u16,
        }
    }
}
