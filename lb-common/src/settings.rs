//! What the agent tells the kernel about everything at once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The only entry of the map `settings`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Settings {
    /// Grows whenever routes, neighbours or backends change: a flow that carries another number
    /// looks at them again.
    pub generation: u32,
    /// The first of NAT's source ports.
    pub first_source_port: u16,
    /// How many there are; 0 before the agent has spoken.
    pub source_ports: u16,
    /// Ticks of the kernel's clock in a second.
    pub hertz: u32,
}
