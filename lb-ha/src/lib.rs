//! The state machines of the pair: which host is active, and which has the address that moves
//! between the hosts.
//!
//! Nothing in this crate does I/O or reads a clock: time and events are arguments, actions are
//! return values. The agent connects it to sockets, timers and the EC2 API, the simulator to a
//! simulated network and a simulated EC2 API.

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
