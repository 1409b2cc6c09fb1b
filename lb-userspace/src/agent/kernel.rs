//! The interface between the agent and the packet path. It is a trait, because tests of the agent
//! replace the packet path: the real one needs privileges and changes the kernel's state.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc};

use crate::{
    config::Service,
    dataplane::{Attachment, Counters, Dataplane, Error, Occupancy, Unreachable, flows::Flows},
    pool::PoolView,
};

/// An open packet path.
pub(super) trait Kernel: Send + 'static {
    /// Writes the services and the pools to the kernel.
    fn apply(&mut self, services: &[Service], pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Writes these pools to the kernel after their backends changed state.
    fn pools_changed(&mut self, pools: &[Arc<PoolView>]) -> Result<(), Error>;
    /// Returns the counters, summed over the CPUs.
    fn counters(&self) -> Result<Counters, Error>;
    /// Returns the interfaces with the XDP program, and the mode in which it is attached to each.
    fn attachments(&self) -> Vec<Attachment>;
    /// Returns the backends of these services that packets cannot reach.
    fn unreachable(&self, services: &[Service]) -> Result<Vec<Unreachable>, Error>;
    /// Whether the flows of an earlier agent were adopted.
    fn adopted(&self) -> bool;
    /// Starts or ends dropping the packets that would open a new connection. The hold expires by itself.
    fn hold(&self, on: bool) -> Result<(), Error>;
    /// Returns the flow table, to be replicated to the peer; `None` in tests.
    fn flows(&self) -> Option<Flows>;
    /// Returns the source ports of the backends, to be counted; `None` in tests.
    fn occupancy(&self) -> Option<Occupancy>;
    /// Returns the path of the pin of the program that should be on the interfaces.
    fn program_pin(&self) -> PathBuf;
    /// Stops all changes, so that another process can take over. Returns the directory of the pins with
    /// the lock on it; `None` in tests.
    fn pause(&mut self) -> Result<Option<(PathBuf, OwnedFd)>, Error>;
    /// Allows changes again after `pause`; the caller must call `apply` next.
    fn resume(&mut self) -> Result<(), Error>;
    /// Releases the packet path after another process has taken over.
    fn give_up(&mut self);
    /// Undoes an `open` that attached the program; used only when the start failed.
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
            // The flows of the earlier agent continue with its pins.
            return Ok(());
        }
        let pins = self.pin_path().to_owned();
        // `unload` needs the lock, which this value holds.
        drop(self);
        Self::unload(&pins).map(|_removed| ())
    }
}
