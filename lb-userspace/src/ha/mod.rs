//! The I/O around the pair's state machines: adverts on the wire, addresses that move, tracking,
//! notify commands.

pub mod address;
pub mod adverts;
mod error;
mod metrics;
pub mod notify;
pub mod track;

pub use error::Error;
pub(crate) use metrics::FAMILIES as METRICS;
pub use metrics::HaMetrics;
