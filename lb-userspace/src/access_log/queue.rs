//! Lines that wait to be written: a buffer of bounded size that every worker appends to and one
//! thread empties.
//!
//! Its lock is held while one line is copied, or while the whole buffer is exchanged for an empty
//! one; never while anything is written.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::counts::Counts;

/// Bytes that may wait.
pub(super) const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do for the thread that writes.
    work: Condvar,
    /// That thread has ended.
    ended: Condvar,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    reopen: bool,
    closed: bool,
    ended: bool,
}

/// What the thread that writes is to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Open the file again, first.
    pub(super) reopen: bool,
    /// End when `lines` are written.
    pub(super) last: bool,
}

impl Queue {
    pub(super) fn new(counts: &Arc<Counts>) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            counts: Arc::clone(counts),
        }
    }

    /// Takes a line, its line feed included, or drops and counts it.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.closed || state.lines.len() + line.len() > MOST_BYTES {
            drop(state);
            self.counts.no_room.fetch_add(1, Relaxed);
            return;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        // The thread waits only while there is nothing.
        if was_empty {
            self.work.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.state().reopen = true;
        self.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.work.notify_one();
    }

    /// Waits until there is something to do; exchanges `lines`, which is empty, for what waits.
    pub(super) fn take(&self, lines: &mut Vec<u8>) -> Work {
        let mut state = self.state();
        while state.lines.is_empty() && !state.reopen && !state.closed {
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.lines, lines);
        Work {
            reopen: std::mem::take(&mut state.reopen),
            last: state.closed,
        }
    }

    /// The thread that writes has ended.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.ended.notify_all();
    }

    pub(super) fn wait_for_end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whoever panicked with the lock had changed all of it or nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
