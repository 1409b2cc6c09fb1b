//! The access log: a line for each request.
//!
//! A worker appends its line to a buffer in memory (`queue`); one thread writes the buffer to the
//! target. If that thread falls behind, the buffer fills up and lines are dropped and counted:
//! requests never wait for a disk.

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

/// An open access log. Pending lines are written when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct AccessLog {
    settings: Arc<config::AccessLog>,
    opened: Arc<OpenTarget>,
}

/// The open target of an access log (file, standard output or syslog). It is kept when only other
/// settings of the log change.
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
    /// Opens a log. `before` is the log in use until now: if its target is the same, it stays open
    /// and is used by the new log, too.
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

    /// Returns the settings that the log was opened with.
    #[must_use]
    pub fn settings(&self) -> &config::AccessLog {
        &self.settings
    }

    /// Appends a line without waiting for it to be written.
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

    /// Reopens the log file. Called after log rotation has renamed the old file.
    pub fn reopen(&self) {
        self.opened.queue.reopen();
    }

    /// Closes the log and waits until pending lines are written, for at most `limit`. Later lines
    /// are dropped.
    pub fn finish(&self, limit: Duration) {
        self.opened.queue.close();
        self.opened.queue.wait_for_end(limit);
    }
}

#[cfg(test)]
mod tests;
