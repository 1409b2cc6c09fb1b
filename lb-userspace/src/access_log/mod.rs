//! The access log: a line for each request.
//!
//! A worker writes its line into a buffer in memory ([`queue`]) and goes on; one thread takes what
//! is in it and writes it where it is to go. Where that thread falls behind, the buffer is full and
//! lines are dropped and counted: nothing that serves requests waits for a disk.

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
pub use line::{Line, Why};
pub(crate) use metrics::FAMILIES as METRICS;

use crate::config::{self, LogTarget};
use queue::Queue;
use writer::Output;

/// A log that is open. Lines that were pushed are written when the last copy is dropped.
#[derive(Clone, Debug)]
pub struct AccessLog {
    settings: Arc<config::AccessLog>,
    opened: Arc<Opened>,
}

/// Where the lines of a log go. Settings may change while it stays open.
#[derive(Debug)]
struct Opened {
    target: LogTarget,
    queue: Arc<Queue>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AccessLog {
    /// Opens a log as `settings` say. `before`: the one that was in force, which stays open where the
    /// lines go to the same place.
    ///
    /// # Errors
    /// It cannot be opened.
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
                Arc::new(Opened {
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

    /// How it is set.
    #[must_use]
    pub fn settings(&self) -> &config::AccessLog {
        &self.settings
    }

    /// Takes a line. Never waits for it to be written.
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

    /// Has the file opened again, because the old one was moved away.
    pub fn reopen(&self) {
        self.opened.queue.reopen();
    }

    /// Lets what waits be written, for so long at most. Lines that come later are dropped.
    pub fn finish(&self, limit: Duration) {
        self.opened.queue.close();
        self.opened.queue.wait_for_end(limit);
    }
}

#[cfg(test)]
mod tests;
