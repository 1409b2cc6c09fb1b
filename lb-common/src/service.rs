//! What a service is to the kernel.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A service's place in the maps `rings` and `cursors`, and in `traffic`.
pub type ServiceId = u16;

/// Where a service listens: the key of the map `services`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ServiceKey {
    /// IPv4 address.
    pub address: [u8; 4],
    /// Port.
    pub port: u16,
    /// IP protocol number; two bytes wide, so that the key has no gap.
    pub protocol: u16,
}

/// What happens to the connections of a service: the value of the map `services`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Service {
    /// The service's number.
    pub id: ServiceId,
    /// A [`Handling`] as its number.
    pub handling: u8,
    /// A [`Pick`] as its number.
    pub pick: u8,
    /// Other backends that a connection is offered to when one refuses or does not answer.
    pub retries: u8,
    /// Zero: room for what comes next.
    pub reserved: [u8; 11],
}

/// Who handles a service's connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Handling {
    /// Steered in the kernel, both addresses rewritten.
    Nat = 1,
    /// Passed up to the agent's listener.
    Agent = 2,
    /// Steered in the kernel, the client's address kept.
    Dnat = 3,
}

/// How a slot of the ring is picked for a new flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Pick {
    /// The next one, counted by each CPU for itself.
    Turn = 1,
    /// By a hash of addresses and ports.
    Flow = 2,
    /// By a hash of the client's address.
    Source = 3,
}

impl Service {
    /// Whether the agent's listener serves it.
    #[must_use]
    #[inline(always)]
    pub const fn is_agents(&self) -> bool {
        self.handling == Handling::Agent as u8
    }
}
