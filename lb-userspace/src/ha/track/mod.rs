//! What is tracked on this host: its interfaces, the XDP program on them, its listeners, its backends, and
//! the operator's scripts.
//!
//! Each has a task of its own, so that one that hangs delays no other: `interface`, `listener`,
//! `pool`, `script`. They report to `trackers`, which keeps what is known; [`weigh()`] makes a
//! [`TrackingSummary`] of it.

mod findings;
mod interface;
mod listener;
mod pool;
mod script;
mod trackers;
mod weigh;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::SystemTime};

use tokio::sync::{mpsc, watch};

pub use self::weigh::{Effect, Fact, TrackingSummary, What, weigh};
use self::{findings::Seen, trackers::Trackers};
use super::Error;
use crate::{
    config::{Name, TrackScript},
    pool::PoolView,
};

/// What to track.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The node's interfaces.
    pub interfaces: Vec<String>,
    /// Where the XDP program is pinned that should be on them.
    pub program: PathBuf,
    /// The services that the agent itself serves, with where they listen.
    pub listeners: Vec<(Name, SocketAddr)>,
    /// The pools that services use.
    pub pools: Vec<watch::Receiver<Arc<PoolView>>>,
    /// Fewer healthy backends than this in a pool lower the priority; 0: pools are not tracked.
    pub min_backends: u32,
    /// By how much.
    pub backends_weight: u8,
    /// `[[ha.track]]`.
    pub scripts: Vec<TrackScript>,
}

/// Everything that is tracked. Dropping it ends the tasks and kills the scripts that run.
#[derive(Debug)]
pub struct Tracking {
    trackers: Trackers,
    seen: Seen,
}

/// Something that is tracked, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tracked {
    /// How it is.
    pub fact: Fact,
    /// Since when it is well, or not.
    pub since: SystemTime,
    /// How often it was looked at, and what came of it.
    pub looks: Looks,
}

/// How often something was looked at, and what came of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Looks {
    /// Times that it was well.
    pub succeeded: u64,
    /// Times that it was not.
    pub failed: u64,
    /// Of those, the times that there was no answer in time.
    pub timed_out: u64,
}

/// What one look found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    Succeeded,
    Failed,
    TimedOut,
}

/// What a task found out.
#[derive(Debug)]
struct Report {
    what: What,
    /// Whether it is well now: after some failures in a row, say.
    well: bool,
    /// What this look found.
    look: Look,
    message: String,
}

type Reports = mpsc::UnboundedSender<Report>;

impl Tracking {
    /// Tracks these things. Must be called within a tokio runtime, in the network namespace of the
    /// interfaces.
    ///
    /// # Errors
    /// The kernel lets this process have no news of interfaces.
    pub fn start(watched: Watched) -> Result<Self, Error> {
        let (trackers, seen) = Trackers::start(watched)?;
        Ok(Self { trackers, seen })
    }

    /// Tracks these things from now on; the interfaces and their programs stay. What is tracked already
    /// stays as it is; what is new is taken to be well until it was looked at.
    pub fn apply(&mut self, watched: Watched) {
        self.trackers.apply(watched);
    }

    /// What all of it means for this host, and each change of that.
    #[must_use]
    pub fn summary(&self) -> watch::Receiver<TrackingSummary> {
        self.seen.summary.clone()
    }

    /// Each thing that is tracked: interfaces, their XDP programs, listeners, pools, scripts.
    #[must_use]
    pub fn view(&self) -> Vec<Tracked> {
        self.seen.view.borrow().clone()
    }
}
