//! The shell around the pair's state machines: adverts on the wire, addresses, tracking, commands.

pub mod address;
pub mod adverts;
mod error;
pub mod notify;
pub mod track;

pub use error::Error;
