//! What a backend is to the balancer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::service::ServiceId;

/// Index of a backend in the map `backends`: one for each pair of service and backend.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    FromBytes,
    Hash,
    Immutable,
    IntoBytes,
    KnownLayout,
    Ord,
    PartialEq,
    PartialOrd,
)]
#[repr(transparent)]
pub struct BackendId(pub u16);

impl BackendId {
    /// The index of its entries in BPF maps.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

impl From<u16> for BackendId {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl From<BackendId> for u16 {
    fn from(id: BackendId) -> Self {
        id.0
    }
}

/// A backend of one service: the value of the map `backends`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Backend {
    /// IPv4 address.
    pub address: [u8; 4],
    /// TCP port.
    pub port: u16,
    /// The service that this entry belongs to.
    pub service: ServiceId,
    /// A [`BackendState`] as its number; 0 is an unused entry.
    pub state: u8,
    /// 1 where its clients keep their address: see [`crate::service::Handling::Dnat`].
    pub dnat: u8,
    /// The first row of the map `source_ports` that is this backend's; one follows for each further
    /// source address.
    pub row: u16,
    /// How many rows there are.
    pub rows: u16,
    /// The port of its service.
    pub service_port: u16,
    /// The address of its service.
    pub service_address: [u8; 4],
    /// Zero: room for what comes next.
    pub reserved: [u8; 8],
}

/// Whether a backend takes connections.
///
/// The numbers are part of the contract with the kernel: they stand in the map `backends`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum BackendState {
    /// Takes new connections.
    Up = 1,
    /// Established flows go on; no new ones.
    Draining = 2,
    /// Out of the ring at once.
    Down = 3,
}

impl BackendState {
    /// The state as it stands in the map.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl Backend {
    /// Whether a connection that is still being opened has to look for another backend: this one
    /// is down, or no longer in the configuration.
    #[must_use]
    #[inline(always)]
    pub const fn is_down(&self) -> bool {
        self.state == BackendState::Down.number() || self.state == 0
    }
}
