//! The interface between the agent and the packet path in the kernel. It is a trait so that tests
//! of the agent can replace the packet path: the real one needs privileges and changes the kernel's
//! state.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use crate::{
    config::Service,
    dataplane::{Attachment, Counters, Dataplane, Error, Occupancy, Unreachable, flows::Flows},
    pool::PoolView,
};

/// An open packet path: the XDP program and its maps.
pub(super) trait Kernel: Send + 'static {
    /// Writes the services and the views of their pools (the backends with their states) to the
    /// kernel.
    fn apply(&mut self, services: &[Service], pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Writes the views of these pools to the kernel: their backends with the states to which they
    /// have changed.
    fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Returns the counters of the XDP program, summed over all CPUs.
    fn counters(&self) -> Result<Counters, Error>;
    /// Returns the interfaces that the XDP program is attached to, each with its mode.
    fn attachments(&self) -> Vec<Attachment>;
    /// Returns the backends of these services that packets cannot reach.
    fn unreachable(&self, services: &[Service]) -> Result<Vec<Unreachable>, Error>;
    /// Returns whether the flows of an earlier agent were adopted at the start.
    fn adopted(&self) -> bool;
    /// Starts or ends a hold, in which packets that would open a new connection are dropped. A hold
    /// expires by itself if it is not renewed.
    fn hold(&self, on: bool) -> Result<(), Error>;
    /// Returns the handle to replicate the connection table to the peer; `None` in tests.
    fn flows(&self) -> Option<Flows>;
    /// Returns the handle that counts, for each backend, the source ports of NAT that are in use,
    /// rest after use, or are free; `None` in tests.
    fn occupancy(&self) -> Option<Occupancy>;
    /// Returns the path of the pin of the XDP program that should be on the interfaces.
    fn program_pin(&self) -> PathBuf;
    /// Stops all changes in the kernel, so that another process can take over. Returns the
    /// directory of the pins and the lock on it; `None` in tests.
    fn pause(&mut self) -> Result<Option<(PathBuf, OwnedFd)>, Error>;
    /// Permits changes in the kernel again after `pause`. The caller must call `apply` next.
    fn resume(&mut self) -> Result<(), Error>;
    /// Gives up the packet path, because another process has taken over.
    fn give_up(&mut self);
    /// Undoes the opening of the packet path, which attached the program, because the start of the
    /// agent failed.
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
            // The pins stay, because they were made by an earlier agent, and its flows continue by
            // them.
            return Ok(());
        }
        let pins = self.pin_path().to_owned();
        // `unload` needs the lock on the pins, which this value holds until it is dropped.
        drop(self);
        Self::unload(&pins).map(|_removed| ())
    }
}
