//! What the agent wants of the packet path: the one room that a test cannot have without a kernel
//! that it may change.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use crate::{
    config::Service,
    dataplane::{Attachment, Counters, Dataplane, Error, Occupancy, Unreachable, flows::Flows},
    pool::PoolView,
};

/// The packet path, open.
pub(super) trait Kernel: Send + 'static {
    /// Makes the kernel say what the configuration and the pools say.
    fn apply(&mut self, services: &[Service], pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Backends of these pools changed state.
    fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Sums the counters.
    fn counters(&self) -> Result<Counters, Error>;
    /// The interfaces that have the program, and how it is attached to each.
    fn attachments(&self) -> Vec<Attachment>;
    /// The backends that these services could not reach.
    fn unreachable(&self, services: &[Service]) -> Result<Vec<Unreachable>, Error>;
    /// Whether flows of an earlier agent were adopted.
    fn adopted(&self) -> bool;
    /// Drops what would begin a new connection, for a while, or lets it pass again.
    fn hold(&self, on: bool) -> Result<(), Error>;
    /// The flow table, to be shared with the peer.
    fn flows(&self) -> Option<Flows>;
    /// The source ports of the backends, to be counted.
    fn occupancy(&self) -> Option<Occupancy>;
    /// Where the program that should be on the interfaces is pinned.
    fn program_pin(&self) -> PathBuf;
    /// Changes nothing from now on: another process may take over. Returns the directory of the pins and
    /// the lock on it, where there is one.
    fn pause(&mut self) -> Result<Option<(PathBuf, OwnedFd)>, Error>;
    /// Goes on after `pause`; `apply` must follow.
    fn resume(&mut self) -> Result<(), Error>;
    /// Another process has taken over.
    fn give_up(&mut self);
    /// Takes back an `open` that attached: only for a start that failed.
    fn take_back(self) -> Result<(), Error>;
}

impl Kernel for Dataplane {
    fn apply(&mut self, services: &[Service], pools: &[Arc<PoolView>]) -> Result<(), Error> {
        Self::apply(self, services, pools)
    }

    fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), Error> {
        Self::pools_changed(self, pools)
    }

    fn counters(&self) -> Result<Counters, Error> {
        Self::counters(self)
    }

    fn attachments(&self) -> Vec<Attachment> {
        Self::attachments(self).to_vec()
    }

    fn unreachable(&self, services: &[Service]) -> Result<Vec<Unreachable>, Error> {
        Self::unreachable(self, services)
    }

    fn adopted(&self) -> bool {
        Self::adopted(self)
    }

    fn hold(&self, on: bool) -> Result<(), Error> {
        Self::hold(self, on)
    }

    fn flows(&self) -> Option<Flows> {
        Some(Self::flows(self).clone())
    }

    fn occupancy(&self) -> Option<Occupancy> {
        Some(Self::occupancy(self).clone())
    }

    fn program_pin(&self) -> PathBuf {
        Self::program_pin(self)
    }

    fn pause(&mut self) -> Result<Option<(PathBuf, OwnedFd)>, Error> {
        Self::pause(self).map(Some)
    }

    fn resume(&mut self) -> Result<(), Error> {
        Self::resume(self)
    }

    fn give_up(&mut self) {
        Self::give_up(self);
    }

    fn take_back(self) -> Result<(), Error> {
        if Self::adopted(&self) {
            // Flows of an earlier agent go on, as it left them.
            return Ok(());
        }
        let pins = self.pin_path().to_owned();
        // It holds the lock that `unload` wants.
        drop(self);
        Self::unload(&pins).map(|_removed| ())
    }
}
