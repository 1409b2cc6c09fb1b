//! The access log: a line for each request.
//!
//! A worker appends its line to a buffer in memory (`queue`); one thread writes the buffer to the
//! log's target (a file, standard output or syslog). If that thread falls behind, the buffer fills
//! up and lines are dropped and counted: requests never wait for a disk.

mod counts;
mod error;
mod escape;
mod line;
mod metrics;
mod queue;
mod time;
mod writer;

use std::{sync::Arc, time::Duration};

pub use counts::{Counted, Counts};
pub use error::Error;
pub use line::{EndReason, Line};
pub(crate) use metrics::FAMILIES as METRICS;

use crate::config::{self, LogTarget};
use queue::Queue;
use writer::Output;

/// An open access log. When its last clone is dropped, the lines in the buffer are still written.
#[derive(Clone, Debug)]
pub struct AccessLog {
    settings: Arc<config::AccessLog>,
    opened: Arc<OpenTarget>,
}

/// The open target of an access log (file, standard output or syslog). The target stays open when
/// only other settings of the log change.
#[derive(Debug)]
struct OpenTarget {
    target: LogTarget,
    queue: Arc<Queue>,
}

impl Drop for OpenTarget {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AccessLog {
    /// Opens an access log. `before` is the log in use until now: if both have the same target,
    /// that target stays open and the new log uses it, too.
    ///
    /// # Errors
    /// The target of the log cannot be opened, or its thread cannot be started.
    pub fn open(
        settings: &config::AccessLog,
        before: Option<&Self>,
        counts: &Arc<Counts>,
    ) -> Result<Self, Error> {
        let same = before.filter(|before| before.opened.target == settings.to);
        let opened = match same {
            Some(before) => Arc::clone(&before.opened),
            None => {
                let output = Output::open(&settings.to)?;
                let queue = Arc::new(Queue::new(counts));
                writer::start(output, &queue).map_err(Error::Thread)?;
                Arc::new(OpenTarget {
                    target: settings.to.clone(),
                    queue,
                })
            }
        };
        Ok(Self {
            settings: Arc::new(settings.clone()),
            opened,
        })
    }

    /// Returns the settings that this log was opened with.
    #[must_use]
    pub fn settings(&self) -> &config::AccessLog {
        &self.settings
    }

    /// Appends a line to the log's buffer, and does not wait until it is written.
    pub fn push(&self, line: &Line<'_>) {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|text| {
            text.clear();
            line.write_to(&self.settings.format, text);
            text.push(b'\n');
            self.opened.queue.push(text);
        });
    }

    /// Reopens the log file. This is called after log rotation has renamed the old file.
    pub fn reopen(&self) {
        self.opened.queue.reopen();
    }

    /// Closes the log and waits until the lines in the buffer are written, for at most `limit`.
    /// Lines that are appended later are dropped.
    pub fn finish(&self, limit: Duration) {
        self.opened.queue.close();
        self.opened.queue.wait_for_end(limit);
    }
}

#[cfg(test)]
mod tests;
