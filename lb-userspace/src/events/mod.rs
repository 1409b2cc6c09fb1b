//! The journal of events: what happened on this host, and why, for `lb events` and the status page.
//!
//! An event is a line of the log that has the field `event`. [`Layer`] collects these lines, so
//! that one call writes the line and records the event, with the same words, fields and severity,
//! in every crate of the workspace. What a kind of event means, and the sentence that tells it, is
//! in [`Kind`].
//!
//! The journal keeps the latest [`CAPACITY`] events. A thread of its own writes them to a file, so
//! that they survive the agent; a file that cannot be written costs the agent nothing.

mod core;
mod event;
mod file;
mod journal;
mod kind;
mod layer;
mod line;
mod sentence;
#[cfg(test)]
mod tests;

pub use core::{CAPACITY, Filter};
pub use event::{Event, Severity};
pub use journal::{Answer, Journal};
pub use kind::Kind;
pub use layer::Layer;
pub use line::Line;
