//! The access log: a line for each request.
//!
//! A worker writes its line into a buffer in memory ([`queue`]) and goes on; one thread takes what
//! is in it and writes it where it is to go. Where that thread falls behind, the buffer is full and
//! lines are dropped and counted: nothing that serves requests waits for a disk.

mod escape;
mod line;
mod metrics;
mod queue;
mod time;
mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

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

/// What happened to lines since the agent started.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    no_room: AtomicU64,
    not_written: AtomicU64,
}

/// The numbers of [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped because more waited already than there is room for.
    pub no_room: u64,
    /// Lines that were dropped because they could not be written.
    pub not_written: u64,
}

impl Counts {
    /// The numbers at this moment.
    #[must_use]
    pub fn now(&self) -> Counted {
        Counted {
            written: self.written.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            not_written: self.not_written.load(Relaxed),
        }
    }
}

/// A log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error(
        "cannot open the access log {path}: {source}; its folder must exist, and the agent's user \
         must be allowed to write to it"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Syslog.
    #[error("cannot reach syslog at /dev/log for the access log: {0}; does a syslog daemon run?")]
    Syslog(#[source] io::Error),
    /// The thread that writes.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(#[source] io::Error),
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

#[cfg(test)]
mod tests;
