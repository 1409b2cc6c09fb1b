//! Backends as the XDP program sees them: values of the map `backends`, and their states.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::service::ServiceId;

/// Index of an entry of the map `backends`, which has one entry for each pair of service and
/// backend.
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
    /// Returns the index of this backend's entries in BPF maps.
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
    /// The backend's IPv4 address.
    pub address: [u8; 4],
    /// The backend's TCP port.
    pub port: u16,
    /// The service that uses this backend.
    pub service: ServiceId,
    /// The backend's [`BackendState`] as a number; 0 marks an unused entry of the map.
    pub state: u8,
    /// 1 if the backend sees the client's own address as the source (DNAT); 0 with full NAT: see
    /// [`crate::service::Handling::Dnat`].
    pub dnat: u8,
    /// The backend's first row of source ports in the map `source_ports`, for connections whose
    /// source is the service's address; one row follows for each additional source address.
    pub row: u16,
    /// Number of the backend's rows of source ports in the map `source_ports`.
    pub rows: u16,
    /// TCP port of the service that uses this backend.
    pub service_port: u16,
    /// IPv4 address of the service that uses this backend.
    pub service_address: [u8; 4],
    /// Always zero; reserved for later use.
    pub reserved: [u8; 8],
}

/// Whether a backend accepts new connections.
///
/// The numbers are part of the contract with the kernel: the map `backends` holds them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum BackendState {
    /// The backend gets new connections.
    Up = 1,
    /// Established connections continue; the backend gets no new ones.
    Draining = 2,
    /// The backend gets no traffic, and is removed from the ring of backends immediately.
    Down = 3,
}

impl BackendState {
    /// Returns the number that stands for the state in the map `backends`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl Backend {
    /// Whether a connection that is not yet open must move to another backend: this backend is
    /// down, or no longer in the configuration.
    #[must_use]
    #[inline(always)]
    pub const fn is_down(&self) -> bool {
        self.state == BackendState::Down.number() || self.state == 0
    }
}
