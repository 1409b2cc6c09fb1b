//! The buffer of access log lines that are not written yet: its size is limited, all workers append
//! to it, and one thread empties it.
//!
//! The buffer's lock is held only while a line is copied or the buffer is swapped for an empty one,
//! never during a write to the log's target.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::counts::Counts;

/// Size limit of the buffer of pending log lines, in bytes.
pub(super) const MOST_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when there is something for the writing thread to do.
    work: Condvar,
    /// Notified when the writing thread has ended.
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

/// What the writing thread has to do besides writing the lines that it took from the queue.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Whether to reopen the log file before writing the lines.
    pub(super) reopen: bool,
    /// Whether the queue is closed, so that the thread ends after writing the lines.
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

    /// Appends a line, which ends with a line feed. If the buffer has no room for it, the line is
    /// dropped and counted.
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
        // Only the first line of a buffer needs to wake the writing thread, which waits only while
        // the buffer is empty.
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

    /// Waits until there are lines to write, the log file must be reopened, or the queue is closed.
    /// Then swaps `lines`, which must be empty, for the lines of the buffer, and returns what else
    /// to do.
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

    /// Records that the writing thread has ended.
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

    /// Locks the state of the queue. A poisoned lock is used as it is: a panic while the lock is
    /// held leaves a consistent state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
