//! The journal: the latest events, and the thread that writes them to the journal's file.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    core::{CAPACITY, Core, Filter},
    event::{Event, Severity},
    file,
    kind::Kind,
    line::Line,
};

/// Interval at which writing the journal's file is tried again after a failure.
const RETRY: Duration = Duration::from_secs(30);
/// Time limit for the last events to reach the journal's file when the agent ends.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// The latest events of this process and of those before it. Clones share one journal.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Shared>);

/// The events that a filter selected, for `lb events` and the status page.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// The highest revision of any event (a number that increases with each record of an event and
    /// each repetition of one): with it as [`Filter::after`], the next request selects what has
    /// happened since.
    pub revision: u64,
    /// Why events are not saved to the journal's file at present, as a sentence; `null` if they are
    /// saved.
    pub not_saved: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when the writing thread has work, and when it has done the work.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    core: Core,
    /// The path of the journal's file; `None` until [`Journal::open`] has set it.
    path: Option<PathBuf>,
    /// The events that the writing thread has to append to the file.
    pending: Vec<Event>,
    /// Number of lines in the journal's file.
    lines: usize,
    /// Whether the writing thread has to replace the file by one with all events, instead of
    /// appending to it.
    replace: bool,
    /// Whether the journal is closed, so that the writing thread has to end.
    closed: bool,
    /// Why the latest attempt to write the file failed; `None` if it succeeded.
    problem: Option<String>,
}

/// What the writing thread has to do next with the journal's file.
enum Work {
    Append(Vec<Event>),
    Replace(Vec<Event>),
}

impl Journal {
    /// Records an event. Takes some microseconds, and waits for no disk.
    pub fn record(&self, kind: Kind, severity: Severity, line: Line, now: SystemTime) {
        let mut state = self.lock();
        let event = state.core.record(kind, severity, line, now).clone();
        if state.path.is_none() || state.closed {
            return;
        }
        if state.pending.len() < CAPACITY {
            state.pending.push(event);
        } else {
            // More events are pending than the journal keeps, so the whole file is replaced
            // instead.
            state.pending.clear();
            state.replace = true;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Reads the events that earlier agents wrote to the file, and writes to it from now on. A file
    /// that cannot be read or written is logged once, and costs nothing but the events of earlier
    /// agents.
    pub fn open(&self, path: &Path) {
        let earlier = file::read(path).unwrap_or_else(|error| {
            tracing::warn!(
                %error, path = %path.display(), "cannot read the events file: earlier events are lost"
            );
            Vec::new()
        });
        {
            let mut state = self.lock();
            state.core.restore(earlier);
            state.path = Some(path.to_owned());
            // Replacing the file also removes lines that are no events and events that are too old.
            state.replace = true;
        }
        let journal = self.clone();
        let thread = thread::Builder::new().name("events".to_owned());
        if let Err(error) = thread.spawn(move || journal.write()) {
            tracing::warn!(%error, "cannot start the thread that saves events: they are kept in memory only");
            self.lock().path = None;
        }
    }

    /// Returns the events that a filter selects, and whether events are saved.
    #[must_use]
    pub fn select(&self, filter: &Filter) -> Answer {
        let state = self.lock();
        Answer {
            events: state.core.select(filter, SystemTime::now()),
            revision: state.core.revision(),
            not_saved: state.problem.clone(),
        }
    }

    /// Returns the latest event of any of these kinds; `None` if there is none.
    #[must_use]
    pub fn latest_of(&self, kinds: &[Kind]) -> Option<Event> {
        let filter = Filter {
            kinds: kinds.to_vec(),
            most: Some(1),
            ..Filter::default()
        };
        self.select(&filter).events.pop()
    }

    /// Waits until the events are in the journal's file, at most 2 s, and writes nothing more to
    /// the file: another process may do so from now on.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.0.changed.notify_all();
        if state.path.is_none() {
            return;
        }
        let unfinished = |state: &mut State| state.path.is_some();
        let ended = self
            .0
            .changed
            .wait_timeout_while(state, LAST_WRITE, unfinished);
        // On a disk that does not answer in time the latest events are lost.
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs the writing thread: writes events to the journal's file until the journal is closed.
    fn write(&self) {
        while let Some((path, work)) = self.next_work() {
            let written = work.write(&path);
            let problem = self.written(&work, &written);
            log_problem(&path, problem.as_deref(), &written);
            if written.is_err() && !self.wait_to_retry() {
                break;
            }
        }
        self.lock().path = None;
        self.0.changed.notify_all();
    }

    /// Waits until the writing thread has something to write. Returns the path of the file and what
    /// to write; `None` when the journal is closed and everything is written.
    fn next_work(&self) -> Option<(PathBuf, Work)> {
        let idle = |state: &mut State| !state.closed && !state.replace && state.pending.is_empty();
        let waited = self.0.changed.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let path = state.path.clone()?;
        let pending = std::mem::take(&mut state.pending);
        if state.replace || state.lines + pending.len() > 2 * CAPACITY {
            state.replace = false;
            return Some((path, Work::Replace(state.core.all().cloned().collect())));
        }
        if pending.is_empty() {
            return None;
        }
        Some((path, Work::Append(pending)))
    }

    /// Records the outcome of a write to the journal's file. Returns why the write before this one
    /// failed; `None` if it succeeded.
    fn written(&self, work: &Work, written: &io::Result<()>) -> Option<String> {
        let mut state = self.lock();
        match (written, work) {
            (Ok(()), Work::Append(events)) => state.lines += events.len(),
            (Ok(()), Work::Replace(events)) => state.lines = events.len(),
            // The events are still in memory, and some of them may be in the file: the next attempt
            // replaces the whole file.
            (Err(_), _) => state.replace = true,
        }
        let problem = written.as_ref().err().map(ToString::to_string);
        std::mem::replace(&mut state.problem, problem)
    }

    /// Waits before the next attempt to write the file. Returns false if the journal was closed.
    fn wait_to_retry(&self) -> bool {
        let open = |state: &mut State| !state.closed;
        let waited = self.0.changed.wait_timeout_while(self.lock(), RETRY, open);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closed
    }

    /// A poisoned lock is used as it is: the state is consistent after each assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn write(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Append(events) => file::append(path, events),
            Self::Replace(events) => file::replace(path, events),
        }
    }
}

/// Logs the first of several failures in a row to write the journal's file, and the first success
/// after them.
fn log_problem(path: &Path, before: Option<&str>, written: &io::Result<()>) {
    let path = path.display();
    match (before, written) {
        (None, Err(error)) => tracing::warn!(
            %error, %path, "cannot write the events file: events are kept in memory, and the write is retried"
        ),
        (Some(_), Ok(())) => tracing::info!(%path, "events are saved again"),
        _ => {}
    }
}
