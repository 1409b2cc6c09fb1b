//! Tracking: the interfaces of this host, the XDP program on them, its listeners, its backends, and
//! the operator's scripts.
//!
//! Each object has a separate task, so an object that hangs delays no other; the modules of the
//! tasks are `interface`, `listener`, `pool`, `script`. The tasks report to `findings`, from which
//! [`weigh()`] makes a [`TrackingSummary`]; `trackers` starts and ends the tasks.

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

/// The objects to track, from the configuration.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The names of the node's interfaces.
    pub interfaces: Vec<String>,
    /// Path of the pin of the XDP program that should be on the interfaces.
    pub program: PathBuf,
    /// The services that the agent itself serves, with their listening addresses.
    pub listeners: Vec<(Name, SocketAddr)>,
    /// Receivers of the state of each pool that services use.
    pub pools: Vec<watch::Receiver<Arc<PoolView>>>,
    /// The number of healthy backends in a pool below which this host's priority is lowered; 0 if
    /// pools are not tracked.
    pub min_backends: u32,
    /// The number by which too few healthy backends lower the priority.
    pub backends_weight: u8,
    /// The scripts that are configured in `[[ha.track]]`.
    pub scripts: Vec<TrackScript>,
}

/// The tracked objects. Dropping this ends the tasks that check them and kills the scripts that are
/// running.
#[derive(Debug)]
pub struct Tracking {
    trackers: Trackers,
    seen: Seen,
}

/// A tracked object as `lb status` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tracked {
    /// The state of the object.
    pub fact: Fact,
    /// When the object became healthy or unhealthy last.
    pub since: SystemTime,
    /// Number of checks of the object by outcome.
    pub looks: Looks,
}

/// Number of checks of a tracked object by outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Looks {
    /// Number of checks that succeeded.
    pub succeeded: u64,
    /// Number of checks that failed.
    pub failed: u64,
    /// How many of the failed checks timed out.
    pub timed_out: u64,
}

/// The outcome of one check of a tracked object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    Succeeded,
    Failed,
    TimedOut,
}

/// The report of one check, from the task that checks a tracked object.
#[derive(Debug)]
struct Report {
    what: What,
    /// Whether the object counts as healthy, after `rise` successful or `fall` failed checks in a
    /// row.
    well: bool,
    /// The outcome of the check that is reported.
    look: Look,
    message: String,
}

type Reports = mpsc::UnboundedSender<Report>;

impl Tracking {
    /// Starts to track these objects. Must be called within a tokio runtime, in the network
    /// namespace of the interfaces.
    ///
    /// # Errors
    /// This process may not subscribe to changes of interfaces.
    pub fn start(watched: Watched) -> Result<Self, Error> {
        let (trackers, seen) = Trackers::start(watched)?;
        Ok(Self { trackers, seen })
    }

    /// Replaces the set of tracked objects; the interfaces and their XDP programs stay tracked.
    /// Objects that were tracked before keep their state; new objects count as healthy until their
    /// first check.
    pub fn apply(&mut self, watched: Watched) {
        self.trackers.apply(watched);
    }

    /// Returns a receiver of the summary of all tracked objects.
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
