//! The state that the agent's loop writes and the admin servers read.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use super::{kernel::Kernel, pair::PairSnapshots};
use crate::{
    acme::StatusRegistry,
    config::{Config, Interfaces, Name},
    discovery::Discovered,
    events::Journal,
    health::Records,
    peer::Difference,
    pool::BackendRegistry,
    proxy::Proxy,
};

/// The state that the agent's loop writes and the admin servers read. No lock is held across an
/// await. A caller that needs both locks acquires `state` before `kernel`.
pub(super) struct Shared<K> {
    pub(super) started: SystemTime,
    kernel: Mutex<K>,
    proxy: Mutex<Option<Proxy>>,
    state: RwLock<State>,
    /// The snapshots that the pair thread publishes; `None` if the host has no peer.
    pub(super) pair: Option<Arc<PairSnapshots>>,
    /// The status of the certificates that the agent obtains by ACME.
    pub(super) board: StatusRegistry,
    /// The journal of the events on this host.
    pub(super) journal: Journal,
}

/// The configuration in force, and the state that belongs to it.
pub(super) struct State {
    /// The configuration in force, with the backends that were discovered.
    pub(super) config: Config,
    pub(super) discovered: Discovered,
    pub(super) registry: BackendRegistry,
    pub(super) records: Records,
    /// The index that each interface had when the XDP program was attached to it; `None` if it did
    /// not exist.
    pub(super) interfaces: Vec<(String, Option<u32>)>,
    /// The pools whose last change the kernel refused. Writing them is retried.
    pub(super) unsettled: BTreeSet<Name>,
    /// The errors of TLS files that have changed and are invalid, so that their previous content is
    /// in use.
    pub(super) unusable: Vec<String>,
    /// How the certificates of the two hosts of the pair differ.
    pub(super) differences: Vec<Difference>,
}

impl State {
    /// Replaces the configuration and the states of its backends. The kernel has accepted both.
    pub(super) fn replace(&mut self, config: Config, registry: BackendRegistry) {
        self.records = self.records.renewed(&config.pools, |id| {
            registry.status(id).is_none_or(|member| member.healthy)
        });
        self.config = config;
        self.registry = registry;
        self.unsettled.clear();
    }
}

/// Returns the index that each interface has now; `None` for an interface that does not exist.
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
        (board, journal): (StatusRegistry, Journal),
    ) -> Self {
        Self {
            started: SystemTime::now(),
            kernel: Mutex::new(kernel),
            proxy: Mutex::new(Some(proxy)),
            state: RwLock::new(state),
            pair,
            board,
            journal,
        }
    }

    // The functions below use a poisoned lock as it is: a thread that panicked while it held the
    // lock was reading, or had made its change in one assignment, so the state is consistent.

    pub(super) fn kernel(&self) -> MutexGuard<'_, K> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the HTTP front, which is `None` once the agent is stopping.
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
