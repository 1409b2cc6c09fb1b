//! Services as the XDP program sees them: keys and values of the map `services`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Index of a service in the maps `rings`, `cursors` and `traffic`.
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
pub struct ServiceId(pub u16);

impl ServiceId {
    /// Returns the index of this service's entries in BPF maps.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

impl From<u16> for ServiceId {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl From<ServiceId> for u16 {
    fn from(id: ServiceId) -> Self {
        id.0
    }
}

/// Address and port of a service: the key of the map `services`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ServiceKey {
    /// IPv4 address of the service.
    pub address: [u8; 4],
    /// TCP port of the service.
    pub port: u16,
    /// IP protocol number, 16 bits wide so that the key has no padding.
    pub protocol: u16,
}

/// How the connections of a service are handled, and how their backends are picked: the value of
/// the map `services`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Service {
    /// Index of the service in BPF maps.
    pub id: ServiceId,
    /// A [`Handling`] as a number: who handles the service's connections.
    pub handling: u8,
    /// A [`Pick`] as a number: how a new flow picks a slot of the service's ring of backends.
    pub pick: u8,
    /// Maximum number of other backends to try when one refuses a connection or does not answer.
    pub retries: u8,
    /// Always zero; reserved for later use.
    pub reserved: [u8; 11],
}

/// Who handles the connections of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Handling {
    /// Steered in the kernel with full NAT: source and destination are rewritten.
    Nat = 1,
    /// The service's connections are passed to the agent's listener.
    Agent = 2,
    /// Steered in the kernel; only the destination is rewritten, so the backend sees the client's
    /// address.
    Dnat = 3,
}

/// How a new flow picks a slot of the service's ring of backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Pick {
    /// The slot of the ring after that of the service's previous flow; each CPU counts separately.
    RoundRobin = 1,
    /// The slot of the ring given by a hash of the flow's addresses and ports.
    FlowHash = 2,
    /// The slot of the ring given by a hash of the client's address.
    SourceHash = 3,
}

impl Pick {
    /// Returns the method of picking a slot that has this number; [`Self::FlowHash`] for a number
    /// that no method has.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::RoundRobin,
            3 => Self::SourceHash,
            _ => Self::FlowHash,
        }
    }
}

impl Service {
    /// Whether the agent's listener serves the service.
    #[must_use]
    #[inline(always)]
    pub const fn is_served_by_agent(&self) -> bool {
        self.handling == Handling::Agent as u8
    }
}
