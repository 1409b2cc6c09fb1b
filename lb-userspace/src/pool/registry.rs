//! The registry: every backend of every pool, and what state checks and operator put it in.
//!
//! Where a backend begins:
//! - one that an earlier agent knew: as that agent left it, operator's order and health both;
//! - any other: up, as in HAProxy.
//!
//! Either way its first check decides alone ([`crate::health::Streak`]), so a wrong beginning lasts
//! for one check. A backend without a check is always healthy.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use lb_common::backend::BackendState;

use super::{
    AdminState, BackendKey, Overrides, OverridesMessage, PoolView, SavedState, SavedStates, Stamp,
    StampedOverride, combined_state,
};
use crate::config::{self, Name};

/// How many names an error lists before it stops.
const NAMES_IN_AN_ERROR: usize = 12;

/// Every backend of every pool: a pure state machine. Time comes in from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendRegistry {
    entries: Vec<Entry>,
    /// Where each backend stands: the place of its pool, and its own in the pool.
    places: HashMap<BackendKey, (usize, usize)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    view: Arc<PoolView>,
    statuses: Vec<BackendStatus>,
}

/// What is known of one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendStatus {
    /// What the checks say; true where there are none.
    pub healthy: bool,
    /// What the operator said.
    pub order: AdminState,
    /// When, as the two hosts of a pair count.
    pub stamp: Stamp,
    /// When it came into the state it is in.
    pub since: SystemTime,
    /// When it last came up, or came to its pool, while the agent ran; `None`: it was there from the
    /// start, or has not been up since.
    pub came_up: Option<SystemTime>,
}

/// A backend that went from one state to another, or that an order gives to its pool, or takes from
/// it, while no backend of the pool is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its pool as it is now.
    pub view: Arc<PoolView>,
    /// The backend's name.
    pub backend: Name,
    /// The state it left.
    pub from: BackendState,
    /// The state it is in.
    pub to: BackendState,
}

/// An order that reached its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideApplied {
    /// Whom it reached, as `pool/backend`.
    pub name: String,
    /// The state it is in now.
    pub state: BackendState,
    /// The change that the order made; `None` when the state stays.
    pub change: Option<Change>,
}

/// What came of the orders that the peer told.
#[derive(Clone, Debug, PartialEq)]
pub struct OverridesMerged {
    /// Those that were newer than this host's own, and reached their backends.
    pub taken: Vec<OverrideApplied>,
    /// What the peer does not know yet: to be told in return.
    pub answer: Option<OverridesMessage>,
}

/// Why an order reached no backend.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OverrideError {
    /// No pool has it.
    #[error("no backend is called {name:?}; there are {}", listed(known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// All there are, as `pool/backend`.
        known: Vec<String>,
    },
    /// More than one pool has it.
    #[error("{name:?} could be any of {}; say which one", listed(candidates))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Those that it fits, as `pool/backend`.
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
    /// A registry of these pools; what an earlier agent left in `memory` is taken over.
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

    /// The registry after a reload: backends that stay (same pool, same address) keep their health
    /// and the operator's order. `self` is untouched, so a reload that fails costs nothing.
    #[must_use]
    pub fn reloaded(&self, pools: &[Arc<config::Pool>], now: SystemTime) -> Self {
        Self::build(pools, now, |id| {
            let status = self.status(id).copied();
            status.unwrap_or_else(|| BackendStatus::begin(now, Some(now)))
        })
    }

    /// A check came to a conclusion. `None` when the state stays, or the backend has gone.
    pub fn record_check(
        &mut self,
        id: &BackendKey,
        healthy: bool,
        now: SystemTime,
    ) -> Option<Change> {
        let (entry, index) = self.place(id)?;
        self.update(entry, index, now, |status| status.healthy = healthy)
    }

    /// The operator gives an order for `name`: a backend's name or address, with `pool/` before it
    /// where several pools have one.
    ///
    /// # Errors
    /// No backend of that name, or more than one.
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

    /// The operator's orders, as they are told to the peer: when the link comes up, and after each
    /// order.
    #[must_use]
    pub fn overrides_message(&self) -> OverridesMessage {
        OverridesMessage::all(&self.overrides())
    }

    /// The peer told its orders. For each backend the newest wins, whoever gave it.
    pub fn merge_overrides(&mut self, told: &OverridesMessage, now: SystemTime) -> OverridesMerged {
        let (ours, theirs) = (self.overrides(), told.overrides());
        let mut taken = Vec::new();
        for (id, newer) in theirs.newer_than(&ours).iter() {
            // A backend that this configuration does not have is none of ours.
            if let Some(place) = self.place(id) {
                taken.push(self.put(place, newer, now));
            }
        }
        let news = ours.newer_than(&theirs);
        let answer = (told.are_all() && !news.is_empty()).then(|| OverridesMessage::some(&news));
        OverridesMerged { taken, answer }
    }

    /// Every pool as it is now, in the order of the configuration.
    pub fn views(&self) -> impl Iterator<Item = &Arc<PoolView>> {
        self.entries.iter().map(|entry| &entry.view)
    }

    /// One pool as it is now.
    #[must_use]
    pub fn view(&self, pool: &Name) -> Option<&Arc<PoolView>> {
        self.views().find(|view| view.pool.name == *pool)
    }

    /// What is known of one backend.
    #[must_use]
    pub fn status(&self, id: &BackendKey) -> Option<&BackendStatus> {
        let (entry, index) = self.place(id)?;
        self.entries[entry].statuses.get(index)
    }

    /// What the next agent should know.
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

    /// The orders that were ever given.
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

    /// Puts an order in force.
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
                settle(status(&id), pool.check.is_some(), now)
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

    /// Changes a status, and the view with it when its state turns out another.
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
    /// One of which nothing is known: it is up, as in HAProxy.
    fn begin(now: SystemTime, came_up: Option<SystemTime>) -> Self {
        Self {
            healthy: true,
            order: AdminState::Ready,
            stamp: Stamp::default(),
            since: now,
            came_up,
        }
    }

    /// The state that health and order make.
    #[must_use]
    pub fn state(&self) -> BackendState {
        combined_state(self.healthy, self.order)
    }

    fn ordered(&self) -> StampedOverride {
        StampedOverride {
            stamp: self.stamp,
            order: self.order,
        }
    }
}

/// A backend whose pool lost its check is healthy from then on: nobody would ever say so again.
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
