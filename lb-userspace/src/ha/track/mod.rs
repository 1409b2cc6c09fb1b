//! Tracking: the interfaces of this host, the XDP program on them, its listeners, its backends, and
//! the operator's scripts.
//!
//! Each object has a separate task, so one that hangs delays no other: `interface`, `listener`,
//! `pool`, `script`. They report to `findings`, of which [`weigh()`] makes a [`TrackingSummary`];
//! `trackers` starts and ends the tasks.

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
    /// Path of the pin of the XDP program that should be on the interfaces.
    pub program: PathBuf,
    /// The services that the agent itself serves, with their listening addresses.
    pub listeners: Vec<(Name, SocketAddr)>,
    /// The pools that services use.
    pub pools: Vec<watch::Receiver<Arc<PoolView>>>,
    /// Fewer healthy backends than this in a pool lower the priority; 0: pools are not tracked.
    pub min_backends: u32,
    /// The amount by which too few healthy backends lower the priority.
    pub backends_weight: u8,
    /// The scripts of `[[ha.track]]`.
    pub scripts: Vec<TrackScript>,
}

/// The tracked objects. Dropping it ends the tasks and kills the scripts that run.
#[derive(Debug)]
pub struct Tracking {
    trackers: Trackers,
    seen: Seen,
}

/// A tracked object, for status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tracked {
    /// Its state.
    pub fact: Fact,
    /// When its health changed last.
    pub since: SystemTime,
    /// Number of its checks by outcome.
    pub looks: Looks,
}

/// Number of checks by outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Looks {
    /// Successful checks.
    pub succeeded: u64,
    /// Failed checks.
    pub failed: u64,
    /// Number of the failed checks that timed out.
    pub timed_out: u64,
}

/// The outcome of one check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    Succeeded,
    Failed,
    TimedOut,
}

/// The report of a task.
#[derive(Debug)]
struct Report {
    what: What,
    /// Whether the object is healthy, after rise and fall.
    well: bool,
    /// The outcome of this check.
    look: Look,
    message: String,
}

type Reports = mpsc::UnboundedSender<Report>;

impl Tracking {
    /// Starts to track these objects. Must be called within a tokio runtime, in the network namespace of
    /// the interfaces.
    ///
    /// # Errors
    /// This process may not subscribe to changes of interfaces.
    pub fn start(watched: Watched) -> Result<Self, Error> {
        let (trackers, seen) = Trackers::start(watched)?;
        Ok(Self { trackers, seen })
    }

    /// Replaces the set of tracked objects; the interfaces and their programs stay. Objects that were
    /// tracked before keep their state; new ones count as healthy until they were checked.
    pub fn apply(&mut self, watched: Watched) {
        self.trackers.apply(watched);
    }

    /// Returns a receiver of the summary.
    #[must_use]
    pub fn summary(&self) -> watch::Receiver<TrackingSummary> {
        self.seen.summary.clone()
    }

    /// Returns all tracked objects: interfaces, their XDP programs, listeners, pools, scripts.
    #[must_use]
    pub fn view(&self) -> Vec<Tracked> {
        self.seen.view.borrow().clone()
    }
}
