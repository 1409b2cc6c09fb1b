//! Counts the lines of the access log that were written and those that were dropped.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters of the access log's lines, written and dropped, since the agent started.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) written: AtomicU64,
    pub(super) no_room: AtomicU64,
    pub(super) not_written: AtomicU64,
}

/// The values of [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Number of lines that were written to the log's target.
    pub written: u64,
    /// Number of lines that were dropped because the buffer in memory was full.
    pub no_room: u64,
    /// Number of lines that were dropped because writing them failed.
    pub not_written: u64,
}

impl Counts {
    /// Returns the present values of the counters.
    #[must_use]
    pub fn now(&self) -> Counted {
        Counted {
            written: self.written.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            not_written: self.not_written.load(Relaxed),
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            written,
            no_room,
            not_written,
        } = self;
        write!(
            f,
            "{written} written, {no_room} without room, {not_written} not written"
        )
    }
}
