//! Puts discovered backends in force.
//!
//! The steps are those of a reload, but only for pools: certificates are not read again, and
//! listeners do not change. A damaged certificate file therefore does not prevent a new backend
//! from being used.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use lb_common::backend::BackendState;
use tokio::sync::mpsc;

use super::{Agent, backend_log};
use crate::{
    agent::{kernel::Kernel, shared::State},
    config::{Config, Effective, Excluded, Exclusion, Name},
    dataplane,
    discovery::{
        Discovered, MembershipChange, Now, Queries, QueryOutcome, SavedBackends, SavedBackendsFile,
    },
    pool::PoolView,
};

/// What the agent's loop needs for discovery: the queries of the sources, and the file that the
/// backends are saved in.
pub(in crate::agent) struct Discovery {
    queries: Queries,
    outcomes: mpsc::Receiver<QueryOutcome>,
    file: SavedBackendsFile,
    /// The content of `file`.
    saved: SavedBackends,
    /// Whether the kernel refused the discovered backends at the last attempt, which is then
    /// repeated.
    was_refused: bool,
    /// Time of the last attempt to put the discovered backends in force.
    applied: Instant,
}

/// Time between two attempts to use backends that are excluded.
const TRY_EXCLUDED_EVERY: Duration = Duration::from_secs(5);

impl Discovery {
    /// Reads the backends that an earlier agent saved in this file, and asks no source yet. If the
    /// file cannot be read, that is logged, and the agent starts without them. Must be called
    /// within a tokio runtime.
    pub(in crate::agent) fn recall(file: PathBuf) -> Self {
        let file = SavedBackendsFile::at(file);
        let saved = file.read().unwrap_or_else(|error| {
            let path = file.path().display();
            tracing::warn!(
                error = %error,
                path = %path,
                "cannot read the discovered backends that were saved, starting without them"
            );
            SavedBackends::default()
        });
        let (queries, outcomes) = Queries::new();
        Self {
            queries,
            outcomes,
            file,
            saved,
            was_refused: false,
            applied: Instant::now(),
        }
    }

    /// Returns the backends that are in the file.
    pub(in crate::agent) fn saved(&self) -> &SavedBackends {
        &self.saved
    }

    /// Asks the sources of the pools of this configuration from now on.
    pub(in crate::agent) fn query(&mut self, config: &Config) {
        self.queries.apply(&config.pools);
    }

    /// Waits for the outcome of the next query.
    pub(super) async fn next_outcome(&mut self) -> Option<QueryOutcome> {
        self.outcomes.recv().await
    }

    /// Saves these backends for the next agent, if they differ from those in the file.
    fn save(&mut self, backends: SavedBackends) {
        if backends == self.saved {
            return;
        }
        match self.file.write(&backends) {
            Ok(()) => self.saved = backends,
            Err(error) => {
                let path = self.file.path().display();
                tracing::warn!(error = %error, path = %path, "cannot save the discovered backends");
            }
        }
    }
}

impl<K: Kernel> Agent<K> {
    /// Handles the outcome of a query of a pool's source.
    pub(super) fn source_queried(&mut self, outcome: QueryOutcome) {
        let pool = outcome.pool.clone();
        let (changes, source) = {
            let mut state = self.shared.write();
            let changes = state.discovered.apply(outcome, Now::read());
            (changes, state.discovered.source_of(&pool))
        };
        let source = source.unwrap_or_default();
        for change in &changes {
            log(&pool, &source, change);
        }
        let is_state_only = |change: &MembershipChange| {
            matches!(
                change,
                MembershipChange::Failing(_) | MembershipChange::Restored
            )
        };
        if !changes.iter().all(is_state_only) {
            self.apply_discovered();
        }
    }

    /// Removes the backends whose drain time has passed. Retries to apply backends that the kernel
    /// refused, and, less often, those that are excluded: a route to one may have been added.
    pub(super) fn keep_up_discovery(&mut self) {
        let expired = {
            let mut state = self.shared.write();
            let State {
                discovered,
                registry,
                ..
            } = &mut *state;
            discovered.expire(Now::read(), |pool| {
                let view = registry.view(pool);
                view.is_some_and(|view| view.states.contains(&BackendState::Up))
            })
        };
        for (pool, change) in &expired {
            log(pool, "", change);
        }
        let is_due = self.discovery.applied.elapsed() >= TRY_EXCLUDED_EVERY;
        let tries_excluded = is_due && self.shared.read().discovered.has_excluded();
        if !expired.is_empty() || self.discovery.was_refused || tries_excluded {
            self.apply_discovered();
        }
    }

    /// Puts the discovered backends in force, if they differ from those in force. If the kernel
    /// refuses them, those in force stay, and the next call tries again.
    pub(super) fn apply_discovered(&mut self) {
        self.discovery.applied = Instant::now();
        match self.try_to_apply_discovered() {
            Ok(()) if self.discovery.was_refused => {
                self.discovery.was_refused = false;
                tracing::info!("the kernel accepted the discovered backends");
            }
            Ok(()) => {}
            Err(error) => {
                // The error is logged once, and not again at each retry.
                if !self.discovery.was_refused {
                    tracing::error!(
                        error = %error,
                        "the discovered backends cannot be put in force, retrying"
                    );
                }
                self.discovery.was_refused = true;
            }
        }
        self.save_discovered();
    }

    fn try_to_apply_discovered(&mut self) -> Result<(), dataplane::Error> {
        let effective = {
            let state = self.shared.read();
            self.effective(&state.config, &state.discovered)?
        };
        let Effective { config, excluded } = effective;
        self.set_excluded(excluded);
        if config == self.shared.read().config {
            return Ok(());
        }
        let registry = self
            .shared
            .read()
            .registry
            .discovered(&config.pools, SystemTime::now());
        let views: Vec<Arc<PoolView>> = registry.views().cloned().collect();
        self.shared.kernel().apply(&config.services, &views)?;

        // None of the following steps can fail.
        for view in &views {
            let state = self.shared.read();
            let before = state.registry.view(&view.pool.name);
            let was_up = before.is_some_and(|before| before.all_down().is_none());
            if let Some(all_down) = view.all_down().filter(|_| was_up) {
                backend_log::pool_down(&view.pool.name, all_down);
            }
        }
        self.checks.apply(&config.pools);
        self.feeds.send_all(&registry);
        self.shared.write().replace(config, registry);
        self.remember();
        self.notify_pair();
        // The peer may have set an override of a backend that is new on this host: it answers with
        // those that this host lacks.
        self.send_overrides();
        Ok(())
    }

    /// Returns a configuration with the backends of `discovered`, without new ones that packets
    /// cannot reach. A backend that is in force (in `config`) stays although its route is gone: the
    /// route may come back, and its checks decide until then.
    ///
    /// # Errors
    /// The lookup of a route fails.
    pub(super) fn effective(
        &self,
        config: &Config,
        discovered: &Discovered,
    ) -> Result<Effective, dataplane::Error> {
        if !config.discovers() {
            return Ok(config.with_discovered(&discovered.backends()));
        }
        let mut found = discovered.backends();
        let all = config.with_discovered(&found);
        let unreachable = self.shared.kernel().unreachable(&all.config.services)?;
        let unreachable: Vec<_> = unreachable
            .into_iter()
            .filter(|one| found.contains_key(&one.pool) && !is_in_force(config, one))
            .map(|one| Excluded {
                pool: one.pool,
                address: one.address,
                reason: Exclusion::Unreachable(format!("{}; {}", one.message, one.hint)),
            })
            .collect();
        if unreachable.is_empty() {
            return Ok(all);
        }
        for (pool, backends) in &mut found {
            backends.retain(|backend| {
                let is_it = |one: &Excluded| one.pool == *pool && one.address == backend.address;
                !unreachable.iter().any(is_it)
            });
        }
        let mut effective = config.with_discovered(&found);
        effective.excluded.extend(unreachable);
        effective.excluded.sort_unstable();
        Ok(effective)
    }

    /// Replaces the set of excluded backends, and logs those that were not in it before.
    fn set_excluded(&self, excluded: Vec<Excluded>) {
        let new = self.shared.write().discovered.set_excluded(excluded);
        log_excluded(&new);
    }

    /// Saves the discovered backends for the next agent, if they have changed.
    pub(super) fn save_discovered(&mut self) {
        let backends = self.shared.read().discovered.saved();
        self.discovery.save(backends);
    }
}

/// Returns whether the backend is in this configuration.
fn is_in_force(config: &Config, backend: &dataplane::Unreachable) -> bool {
    let mut pools = config.pools.iter();
    pools.any(|pool| pool.name == backend.pool && pool.has_backend_at(backend.address))
}

/// Logs discovered backends that cannot be used.
pub(super) fn log_excluded(excluded: &[Excluded]) {
    for Excluded {
        pool,
        address,
        reason,
    } in excluded
    {
        tracing::warn!(
            %pool, backend = %address, %reason, event = "backend_excluded",
            "discovered backend cannot be used"
        );
    }
}

fn log(pool: &Name, source: &str, change: &MembershipChange) {
    match change {
        MembershipChange::Added(backend) => tracing::info!(
            %pool, %backend, source, event = "backend_discovered", "backend discovered"
        ),
        MembershipChange::Changed(backend) => tracing::info!(
            %pool, %backend, source, event = "backend_changed", "discovered backend changed"
        ),
        MembershipChange::Leaving(backend) => tracing::info!(
            %pool, %backend, source, event = "backend_leaving",
            "discovered backend is leaving the pool"
        ),
        MembershipChange::Removed(backend) => tracing::info!(
            %pool, %backend, event = "backend_removed", "discovered backend has left the pool"
        ),
        MembershipChange::Failing(error) => tracing::warn!(
            %pool, source, error, event = "discovery_failed",
            "cannot discover backends, keeping the backends of the pool"
        ),
        MembershipChange::Restored => tracing::info!(
            %pool, source, event = "discovery_restored", "backends are discovered again"
        ),
    }
}
