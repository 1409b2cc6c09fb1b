//! The pair's state machines: who is active, and where the address belongs.
//!
//! Nothing here does I/O or knows a clock: time and what happens come in as arguments, what is to
//! be done comes out as values. The agent puts sockets, timers and the EC2 API around it; the
//! simulator puts a simulated network and a simulated EC2 around the very same code.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod advert;
pub mod backlog;
mod chance;
pub mod elastic;
pub mod pair;
pub mod streak;
mod time;
pub mod vrrp;

pub use time::Time;
