//! What a backend is to the balancer.

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
