//! The state that the loop writes and the admin server reads.

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

/// The state that the loop writes and the admin server reads. No lock is held across an await. A
/// caller that needs both acquires `state` before `kernel`.
pub(super) struct Shared<K> {
    pub(super) started: SystemTime,
    kernel: Mutex<K>,
    proxy: Mutex<Option<Proxy>>,
    state: RwLock<State>,
    /// The snapshots of the pair thread; `None` without a pair.
    pub(super) pair: Option<Arc<PairSnapshots>>,
    /// The status of the certificates that are obtained by ACME.
    pub(super) board: StatusRegistry,
}

/// The configuration in force, and the state that belongs to it.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) registry: BackendRegistry,
    pub(super) records: Records,
    /// The index of each interface when the XDP program was attached to it.
    pub(super) interfaces: Vec<(String, Option<u32>)>,
    /// Pools whose last change the kernel refused. The write is retried.
    pub(super) unsettled: BTreeSet<Name>,
    /// Errors of TLS files that have changed and are invalid: their previous content is in use.
    pub(super) unusable: Vec<String>,
    /// Certificates that differ between the hosts of the pair.
    pub(super) differences: Vec<Difference>,
}

/// Returns the current index of each interface; `None` for one that does not exist.
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

    // A poisoned lock is still usable: a thread that panicked while holding it was reading, or had made its
    // change in one assignment, so the state is consistent.

    pub(super) fn kernel(&self) -> MutexGuard<'_, K> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the HTTP front; `None` once the agent is stopping.
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
