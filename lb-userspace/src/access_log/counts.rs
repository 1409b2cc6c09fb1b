//! Counts what happens to the lines of the access log.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters of access log lines, written and dropped, since the agent started.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) written: AtomicU64,
    pub(super) no_room: AtomicU64,
    pub(super) not_written: AtomicU64,
}

/// The values of [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Lines written.
    pub written: u64,
    /// Lines dropped because the buffer was full.
    pub no_room: u64,
    /// Lines dropped because of a write error.
    pub not_written: u64,
}

impl Counts {
    /// Returns the values at this moment.
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
