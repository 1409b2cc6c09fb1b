//! Counters of services and backends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{backend::BackendId, limits, service::ServiceId};

/// Traffic of a service or backend: the value of the per-CPU map `traffic`. Bytes are counted from
/// the IP header on.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Traffic {
    /// Number of packets from clients.
    pub packets_in: u64,
    /// Number of bytes from clients.
    pub bytes_in: u64,
    /// Number of packets to clients.
    pub packets_out: u64,
    /// Number of bytes to clients.
    pub bytes_out: u64,
    /// Number of connections that were opened.
    pub connections: u64,
}

/// Direction of a packet of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Direction {
    /// The packet comes from the client.
    In = 0,
    /// The packet goes to the client.
    Out = 1,
}

/// Index of an entry of the map `traffic`, which has first one entry for each service, for packets
/// without a backend, then one for each backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrafficSlot(u32);

impl TrafficSlot {
    /// Number of entries of the map `traffic`.
    pub const COUNT: u32 = limits::SERVICES + limits::BACKENDS;

    /// Returns the entry of a service in the map `traffic`, for packets without a backend.
    #[must_use]
    #[inline(always)]
    pub const fn of_service(id: ServiceId) -> Self {
        Self(id.index())
    }

    /// Returns the entry of a backend in the map `traffic`.
    #[must_use]
    #[inline(always)]
    pub const fn of_backend(id: BackendId) -> Self {
        Self(limits::SERVICES + id.index())
    }

    /// Returns the index of the entry in the map `traffic`.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl Traffic {
    /// Returns the sum of this value and another, field by field.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            packets_in: self.packets_in + other.packets_in,
            bytes_in: self.bytes_in + other.bytes_in,
            packets_out: self.packets_out + other.packets_out,
            bytes_out: self.bytes_out + other.bytes_out,
            connections: self.connections + other.connections,
        }
    }

    /// Counts one packet of `bytes` bytes; `opens` tells whether it opens a connection.
    #[inline(always)]
    pub const fn count(&mut self, direction: Direction, bytes: u16, opens: bool) {
        match direction {
            Direction::In => {
                self.packets_in += 1;
                self.bytes_in += bytes as u64;
            }
            Direction::Out => {
                self.packets_out += 1;
                self.bytes_out += bytes as u64;
            }
        }
        self.connections += opens as u64;
    }
}
