//! What the loop writes and the admin server reads.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use super::{kernel::Kernel, pair::PairSnapshots};
use crate::{
    acme::StatusRegistry,
    config::{Config, Interfaces, Name},
    health::Records,
    peer::Difference,
    pool::BackendRegistry,
    proxy::Proxy,
};

/// What the loop writes and the admin server reads. No lock is held across an await, nor while
/// another is taken.
pub(super) struct Shared<K> {
    pub(super) started: SystemTime,
    kernel: Mutex<K>,
    proxy: Mutex<Option<Proxy>>,
    state: RwLock<State>,
    /// What the pair knows; `None`: the host is alone.
    pub(super) pair: Option<Arc<PairSnapshots>>,
    /// What is known of the certificates that are obtained.
    pub(super) board: StatusRegistry,
}

/// What is in force.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) registry: BackendRegistry,
    pub(super) records: Records,
    /// The number of each interface when XDP was attached to it.
    pub(super) interfaces: Vec<(String, Option<u32>)>,
    /// Pools whose last change the kernel refused. They are tried again.
    pub(super) unsettled: BTreeSet<Name>,
    /// Files for TLS that have changed and cannot be used: what they held before is in use.
    pub(super) unusable: Vec<String>,
    /// Certificates that differ between the hosts of the pair.
    pub(super) differences: Vec<Difference>,
}

/// The number of each interface, as it is now; `None` where there is no such interface.
pub(super) fn indices(interfaces: &Interfaces) -> Vec<(String, Option<u32>)> {
    let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    interfaces
        .names()
        .map(|name| (name.to_owned(), index(name)))
        .collect()
}

impl<K: Kernel> Shared<K> {
    pub(super) fn new(
        (kernel, proxy): (K, Proxy),
        state: State,
        pair: Option<Arc<PairSnapshots>>,
        board: StatusRegistry,
    ) -> Self {
        Self {
            started: SystemTime::now(),
            kernel: Mutex::new(kernel),
            proxy: Mutex::new(Some(proxy)),
            state: RwLock::new(state),
            pair,
            board,
        }
    }

    // A thread that panicked while it held a lock was reading, or had made its change in one
    // assignment: what is behind the lock is whole.

    pub(super) fn kernel(&self) -> MutexGuard<'_, K> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` once the agent is stopping.
    pub(super) fn proxy(&self) -> MutexGuard<'_, Option<Proxy>> {
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
