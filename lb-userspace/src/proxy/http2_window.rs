//! Flow-control windows for request bodies of HTTP/2 clients (RFC 9113 §5.2).
//!
//! The sum of the streams' windows never exceeds the connection's window, so uploads whose backends
//! do not read leave room for the other uploads of the connection. A few uploads get large windows,
//! for distant clients; many get small ones, because the worker needs memory for each window.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// Limit of concurrent requests on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 128;
/// Initial flow-control window of each stream, in bytes: all streams together fill the window of
/// the connection.
pub(super) const FIRST_WINDOW: u32 = 64 * 1024;
/// Flow-control window of a connection, in bytes: the most that is buffered of the bodies of its
/// requests.
pub(super) const CONNECTION_WINDOW: u32 = MAX_STREAMS * FIRST_WINDOW;

/// The window of each stream, in bytes, for up to this many concurrent uploads. If uploads begin
/// one after another, no more than 8 × 256 + 24 × 64 + 96 × 32 KiB can be in flight, which is less
/// than the window of the connection.
const WINDOWS: [(usize, u32); 3] = [
    (8, 256 * 1024),
    (32, 64 * 1024),
    (MAX_STREAMS as usize, 32 * 1024),
];

/// A window grows only after no upload has begun for this time: uploads that begin together have
/// all been counted by then, and none gets a window that is meant for few uploads.
const GROW_AFTER: Duration = Duration::from_millis(50);

/// The number of concurrent uploads on one HTTP/2 connection, and the window that results from it.
#[derive(Debug)]
pub(super) struct Uploads {
    count: Cell<usize>,
    window: Cell<u32>,
    /// When the most recent upload began.
    last: Cell<Instant>,
}

impl Uploads {
    /// Creates the state of a connection on which no upload has begun.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: Cell::new(0),
            window: Cell::new(FIRST_WINDOW),
            last: Cell::new(now),
        }
    }

    /// Records that an upload begins at the time `now`.
    pub(super) fn begin(&self, now: Instant) {
        self.count.set(self.count.get() + 1);
        self.last.set(now);
    }

    /// Records that an upload has ended.
    pub(super) fn end(&self) {
        self.count.set(self.count.get() - 1);
    }

    /// Adjusts the window of each stream to the number of uploads if needed. `announce` sends the
    /// new window, in bytes, to the client and returns whether it succeeded.
    pub(super) fn adjust(&self, announce: impl FnOnce(u32) -> bool) {
        let count = self.count.get();
        let mut steps = WINDOWS.iter().filter(|(most, _)| count <= *most);
        let Some((_, window)) = steps.next().filter(|_| count > 0) else {
            return;
        };
        let now = self.window.get();
        let may = *window < now || *window > now && self.last.get().elapsed() >= GROW_AFTER;
        if may && announce(*window) {
            self.window.set(*window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads() -> Uploads {
        let long_ago = Instant::now().checked_sub(GROW_AFTER);
        Uploads::new(long_ago.expect("the clock has run for a while"))
    }

    /// Returns the window that is announced if this many uploads are in progress; `None` if none is
    /// announced.
    fn announced(uploads: &Uploads, count: usize) -> Option<u32> {
        uploads.count.set(count);
        let mut announced = None;
        uploads.adjust(|window| {
            announced = Some(window);
            true
        });
        announced
    }

    #[test]
    fn few_uploads_have_large_windows_and_many_small_ones() {
        let uploads = uploads();
        assert_eq!(announced(&uploads, 0), None);
        assert_eq!(announced(&uploads, 1), Some(256 * 1024));
        assert_eq!(announced(&uploads, 8), None, "it is known");
        assert_eq!(announced(&uploads, 9), Some(64 * 1024));
        assert_eq!(announced(&uploads, 33), Some(32 * 1024));
        assert_eq!(announced(&uploads, 128), None);
        assert_eq!(announced(&uploads, 0), None, "as the last ones had");
        assert_eq!(announced(&uploads, 2), Some(256 * 1024));
    }

    #[test]
    fn windows_do_not_grow_while_uploads_begin() {
        let uploads = Uploads::new(Instant::now());
        uploads.begin(Instant::now());
        assert_eq!(announced(&uploads, 1), None);
        assert_eq!(announced(&uploads, 40), Some(32 * 1024), "smaller at once");
    }

    #[test]
    fn a_window_that_could_not_be_announced_is_announced_later() {
        let uploads = uploads();
        uploads.count.set(1);
        uploads.adjust(|_| false);
        assert_eq!(announced(&uploads, 1), Some(256 * 1024));
    }

    #[test]
    fn uploads_that_begin_one_after_another_do_not_fill_the_connections_window() {
        let uploads = uploads();
        let held: u32 = (1..=MAX_STREAMS as usize)
            .map(|count| {
                announced(&uploads, count);
                uploads.window.get()
            })
            .sum();
        assert!(held < CONNECTION_WINDOW, "{held}");
    }
}
