//! The packet logic outside the kernel, for tests and fuzzers: packets as byte slices, tables in
//! plain memory.

mod build;
mod slice;
mod tables;

pub use build::{TcpPacket, checksum, tcp_checksum};
pub use slice::Slice;
pub use tables::{HostLine, HostTables};
