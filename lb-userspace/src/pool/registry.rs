//! The backend registry: every backend of every pool, with its health and operator override.
//!
//! Initial state of a backend:
//! - one that an earlier agent knew: health and override as saved by that agent;
//! - any other: up, as in HAProxy.
//!
//! In either case the backend's first health check alone decides ([`lb_ha::streak::Streak`]), so
//! that a wrong initial state lasts for one check. A backend without a health check is always
//! healthy.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use lb_common::backend::BackendState;

use super::{
    AdminState, BackendKey, Overrides, OverridesMessage, PoolView, SavedState, SavedStates, Stamp,
    StampedOverride, combined_state,
};
use crate::config::{self, Name};

/// Maximum number of backends listed in an error message.
const NAMES_IN_AN_ERROR: usize = 12;

/// The states of all backends of all pools: a pure state machine without a clock.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendRegistry {
    entries: Vec<Entry>,
    /// Position of each backend: the index of its pool, and the backend's index in that pool.
    places: HashMap<BackendKey, (usize, usize)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    view: Arc<PoolView>,
    statuses: Vec<BackendStatus>,
}

/// Status of a backend: its health, its operator override, and since when it has its state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendStatus {
    /// Whether the health checks found the backend healthy; true if it has no checks.
    pub healthy: bool,
    /// The operator override of the backend.
    pub order: AdminState,
    /// When the operator override was set; zero if it never was.
    pub stamp: Stamp,
    /// When the backend entered the state that it has now.
    pub since: SystemTime,
    /// When the backend last came up, or was added, while the agent was running; `None` if it was
    /// up at the start of the agent, or has not been up since.
    pub came_up: Option<SystemTime>,
    /// Whether the source that the backend was discovered by no longer has it.
    pub leaving: bool,
}

/// A change of a backend's state, or of whether it is used while no backend of its pool is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The snapshot of the backend's pool after the change.
    pub view: Arc<PoolView>,
    /// Name of the backend.
    pub backend: Name,
    /// The previous state of the backend.
    pub from: BackendState,
    /// The new state of the backend.
    pub to: BackendState,
}

/// Result of applying an operator override.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideApplied {
    /// The name of the backend, as `pool/backend`.
    pub name: String,
    /// The state of the backend after the override.
    pub state: BackendState,
    /// The change of the backend's state; `None` if the state stays the same.
    pub change: Option<Change>,
}

/// Result of merging the operator overrides of the peer.
#[derive(Clone, Debug, PartialEq)]
pub struct OverridesMerged {
    /// Overrides of the peer that were newer than this host's own, and were applied here.
    pub taken: Vec<OverrideApplied>,
    /// Overrides that the peer lacks or has in an older form, to be sent in reply; `None` if there
    /// are none, or if the peer did not send all of its overrides.
    pub answer: Option<OverridesMessage>,
}

/// Why an operator override was not applied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OverrideError {
    /// No pool has a backend with this name.
    #[error("there is no backend {name:?}; the backends are {}", listed(known))]
    Unknown {
        /// The name that the operator gave.
        name: String,
        /// The names of all backends, as `pool/backend`.
        known: Vec<String>,
    },
    /// More than one backend matches the name.
    #[error(
        "{name:?} is ambiguous: it could be any of {}; name one of them",
        listed(candidates)
    )]
    Ambiguous {
        /// The name that the operator gave.
        name: String,
        /// The backends that the operator may have meant by that name, as `pool/backend`.
        candidates: Vec<String>,
    },
}

fn listed(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(NAMES_IN_AN_ERROR)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMES_IN_AN_ERROR {
        text.push_str(", …");
    }
    text
}

impl BackendRegistry {
    /// Creates a registry for these pools, with the states that an earlier agent saved in `memory`.
    #[must_use]
    pub fn new(pools: &[Arc<config::Pool>], memory: &SavedStates, now: SystemTime) -> Self {
        let known = |id: &BackendKey| {
            memory.of(id).map(|remembered| BackendStatus {
                healthy: remembered.healthy,
                order: remembered.order,
                stamp: remembered.stamp,
                ..BackendStatus::begin(now, None)
            })
        };
        Self::build(pools, now, |id| {
            known(id).unwrap_or_else(|| BackendStatus::begin(now, None))
        })
    }

    /// Returns the registry after a reload: backends that remain (same pool, same address) keep
    /// their health and override. `self` does not change, so that a reload can fail safely.
    #[must_use]
    pub fn reloaded(&self, pools: &[Arc<config::Pool>], now: SystemTime) -> Self {
        Self::build(pools, now, |id| {
            let status = self.status(id).copied();
            status.unwrap_or_else(|| BackendStatus::begin(now, Some(now)))
        })
    }

    /// Returns the registry after the backends of pools were discovered. It differs from
    /// [`Self::reloaded`] in that a backend that is new in a pool with other backends begins as
    /// unhealthy, and is up after its first check: a source may list a host before it serves.
    #[must_use]
    pub fn discovered(&self, pools: &[Arc<config::Pool>], now: SystemTime) -> Self {
        let had_backends = |pool: &Name| {
            let view = self.view(pool);
            view.is_some_and(|view| !view.pool.backends.is_empty())
        };
        Self::build(pools, now, |id| {
            let status = self.status(id).copied();
            status.unwrap_or_else(|| BackendStatus {
                healthy: !had_backends(&id.pool),
                ..BackendStatus::begin(now, Some(now))
            })
        })
    }

    /// Records the result of a health check of a backend. Returns the change of its state; `None`
    /// if the state is unchanged or the backend was removed.
    pub fn record_check(
        &mut self,
        id: &BackendKey,
        healthy: bool,
        now: SystemTime,
    ) -> Option<Change> {
        let (entry, index) = self.place(id)?;
        self.update(entry, index, now, |status| status.healthy = healthy)
    }

    /// Sets the operator override of the backend called `name`, which is a name or address, with
    /// the prefix `pool/` if several pools have a backend with that name or address.
    ///
    /// # Errors
    /// No backend, or more than one, has that name.
    pub fn set_override(
        &mut self,
        name: &str,
        order: AdminState,
        now: SystemTime,
    ) -> Result<OverrideApplied, OverrideError> {
        let place = self.find(name)?;
        let stamp = Stamp::next(self.newest_order(), now);
        Ok(self.put(place, StampedOverride { stamp, order }, now))
    }

    /// Returns all operator overrides as a message to the peer, which is sent when the link to the
    /// peer comes up and after each override.
    #[must_use]
    pub fn overrides_message(&self) -> OverridesMessage {
        OverridesMessage::all(&self.overrides())
    }

    /// Merges the operator overrides of the peer. For each backend the newest override applies,
    /// whichever host set it.
    pub fn merge_overrides(&mut self, told: &OverridesMessage, now: SystemTime) -> OverridesMerged {
        let (ours, theirs) = (self.overrides(), told.overrides());
        let mut taken = Vec::new();
        for (id, newer) in theirs.newer_than(&ours).iter() {
            // Overrides of backends that are not in this host's configuration are ignored.
            if let Some(place) = self.place(id) {
                taken.push(self.put(place, newer, now));
            }
        }
        let news = ours.newer_than(&theirs);
        let answer = (told.are_all() && !news.is_empty()).then(|| OverridesMessage::some(&news));
        OverridesMerged { taken, answer }
    }

    /// Returns the current snapshots of all pools, in the order of the configuration.
    pub fn views(&self) -> impl Iterator<Item = &Arc<PoolView>> {
        self.entries.iter().map(|entry| &entry.view)
    }

    /// Returns the current snapshot of one pool; `None` if there is no such pool.
    #[must_use]
    pub fn view(&self, pool: &Name) -> Option<&Arc<PoolView>> {
        self.views().find(|view| view.pool.name == *pool)
    }

    /// Returns the status of a backend; `None` if the registry does not have it.
    #[must_use]
    pub fn status(&self, id: &BackendKey) -> Option<&BackendStatus> {
        let (entry, index) = self.place(id)?;
        self.entries[entry].statuses.get(index)
    }

    /// Returns the states of the backends that are to be saved for the next agent.
    #[must_use]
    pub fn saved_states(&self) -> SavedStates {
        SavedStates::new(self.entries.iter().flat_map(|entry| {
            let statuses = entry.statuses.iter().enumerate();
            statuses.map(|(index, status)| {
                let remembered = SavedState {
                    order: status.order,
                    stamp: status.stamp,
                    healthy: status.healthy,
                };
                (entry.id(index), remembered)
            })
        }))
    }

    /// Returns all operator overrides that were ever set.
    fn overrides(&self) -> Overrides {
        let entries = self.entries.iter();
        let orders = entries.flat_map(|entry| {
            let statuses = entry.statuses.iter().enumerate();
            statuses.map(|(index, status)| (entry.id(index), status.ordered()))
        });
        orders.collect()
    }

    fn newest_order(&self) -> Stamp {
        let statuses = self.entries.iter().flat_map(|entry| &entry.statuses);
        statuses
            .map(|status| status.stamp)
            .max()
            .unwrap_or_default()
    }

    /// Applies an operator override to the backend at this position.
    fn put(
        &mut self,
        (entry, index): (usize, usize),
        new: StampedOverride,
        now: SystemTime,
    ) -> OverrideApplied {
        let change = self.update(entry, index, now, |status| {
            status.order = new.order;
            status.stamp = new.stamp;
        });
        OverrideApplied {
            name: self.full_name((entry, index)),
            state: self.entries[entry].statuses[index].state(),
            change,
        }
    }

    fn build(
        pools: &[Arc<config::Pool>],
        now: SystemTime,
        status: impl Fn(&BackendKey) -> BackendStatus,
    ) -> Self {
        let entries = pools.iter().map(|pool| {
            let statuses = pool.backends.iter().map(|backend| {
                let id = BackendKey::of(pool, backend);
                let status = status(&id).with_leaving(backend.leaving, now);
                settle(status, pool.check.is_some(), now)
            });
            Entry::new(Arc::clone(pool), statuses.collect())
        });
        let entries: Vec<Entry> = entries.collect();
        let places = entries.iter().enumerate().flat_map(|(place, entry)| {
            (0..entry.statuses.len()).map(move |index| (entry.id(index), (place, index)))
        });
        Self {
            places: places.collect(),
            entries,
        }
    }

    /// Changes the status of the backend at this position. If the backend's state or operator
    /// override changed, the snapshot of its pool is updated.
    fn update(
        &mut self,
        entry: usize,
        index: usize,
        now: SystemTime,
        change: impl FnOnce(&mut BackendStatus),
    ) -> Option<Change> {
        let entry = self.entries.get_mut(entry)?;
        let status = entry.statuses.get_mut(index)?;
        let before = (status.state(), status.order);
        change(status);
        let after = (status.state(), status.order);
        if before == after {
            return None;
        }
        let ((from, _), (to, order)) = (before, after);
        if from != to {
            status.since = now;
        }
        if from != to && to == BackendState::Up {
            status.came_up = Some(now);
        }
        let came_up = status.came_up;
        let taken = entry.view.taken_states();
        let view = Arc::make_mut(&mut entry.view);
        view.states[index] = to;
        view.overrides[index] = order;
        view.came_up[index] = came_up;
        if from == to && taken == entry.view.taken_states() {
            return None;
        }
        Some(Change {
            view: Arc::clone(&entry.view),
            backend: entry.view.pool.backends[index].name.clone(),
            from,
            to,
        })
    }

    fn place(&self, id: &BackendKey) -> Option<(usize, usize)> {
        self.places.get(id).copied()
    }

    fn find(&self, name: &str) -> Result<(usize, usize), OverrideError> {
        let found: Vec<_> = self.matches(name).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(OverrideError::Unknown {
                name: name.to_owned(),
                known: self.places().map(|place| self.full_name(place)).collect(),
            }),
            several => Err(OverrideError::Ambiguous {
                name: name.to_owned(),
                candidates: several.iter().map(|place| self.full_name(*place)).collect(),
            }),
        }
    }

    fn matches(&self, name: &str) -> impl Iterator<Item = (usize, usize)> {
        let (pool, backend) = match name.split_once('/') {
            Some((pool, backend)) => (Some(pool), backend),
            None => (None, name),
        };
        let address = backend.parse().ok();
        self.places().filter(move |&(entry, index)| {
            let candidate = &self.entries[entry].view.pool;
            let one = &candidate.backends[index];
            pool.is_none_or(|pool| candidate.name.as_str() == pool)
                && (one.name.as_str() == backend || Some(one.address) == address)
        })
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let entries = self.entries.iter().enumerate();
        entries.flat_map(|(entry, pool)| (0..pool.statuses.len()).map(move |index| (entry, index)))
    }

    fn full_name(&self, (entry, index): (usize, usize)) -> String {
        let pool = &self.entries[entry].view.pool;
        format!("{}/{}", pool.name, pool.backends[index].name)
    }
}

impl Entry {
    fn new(pool: Arc<config::Pool>, statuses: Vec<BackendStatus>) -> Self {
        let view = PoolView {
            states: statuses.iter().map(BackendStatus::state).collect(),
            overrides: statuses.iter().map(|status| status.order).collect(),
            came_up: statuses.iter().map(|status| status.came_up).collect(),
            pool,
        };
        Self {
            view: Arc::new(view),
            statuses,
        }
    }

    fn id(&self, index: usize) -> BackendKey {
        BackendKey::of(&self.view.pool, &self.view.pool.backends[index])
    }
}

impl BackendStatus {
    /// Returns the initial status of a backend that no earlier agent knew: it is up, as in HAProxy.
    fn begin(now: SystemTime, came_up: Option<SystemTime>) -> Self {
        Self {
            healthy: true,
            order: AdminState::Ready,
            stamp: Stamp::default(),
            since: now,
            came_up,
            leaving: false,
        }
    }

    /// Returns the status with `leaving` set to this value.
    fn with_leaving(self, leaving: bool, now: SystemTime) -> Self {
        let before = self.state();
        let mut status = Self { leaving, ..self };
        if status.state() != before {
            status.since = now;
            if status.state() == BackendState::Up {
                status.came_up = Some(now);
            }
        }
        status
    }

    /// Returns the state of the backend that follows from its health, its override, and whether it
    /// is leaving: a backend that is leaving is drained.
    #[must_use]
    pub fn state(&self) -> BackendState {
        let order = match self.leaving {
            true => self.order.max(AdminState::Drain),
            false => self.order,
        };
        combined_state(self.healthy, order)
    }

    fn ordered(&self) -> StampedOverride {
        StampedOverride {
            stamp: self.stamp,
            order: self.order,
        }
    }
}

/// Returns the status of a backend, set to healthy if the pool has no health check any more,
/// because no check would ever report the backend healthy.
fn settle(status: BackendStatus, is_checked: bool, now: SystemTime) -> BackendStatus {
    if is_checked || status.healthy {
        return status;
    }
    BackendStatus {
        healthy: true,
        since: now,
        came_up: Some(now),
        ..status
    }
}

#[cfg(test)]
mod tests;
