//! The shell around the pair's state machines: adverts on the wire, addresses, tracking, commands.

pub mod address;
mod error;
mod netlink;

pub use error::Error;
