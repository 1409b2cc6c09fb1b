//! The packet logic's home on the host: packets as byte slices, tables as hash maps.

mod slice;
mod tables;

pub use slice::Slice;
pub use tables::{HostEntry, HostTables};
