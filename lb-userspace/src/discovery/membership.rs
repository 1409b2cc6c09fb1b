//! The backends of one pool that discovers them: a pure state machine, which gets the time as an
//! argument.
//!
//! Whatever the source answers, these rules hold:
//! - **The pool is never emptied by its source.** An error and an answer without backends leave the
//!   backends as they are.
//! - **A backend that the source no longer has is drained, not cut off.** It leaves the pool when
//!   the drain time has passed and another backend is up. If the source lists it again before that,
//!   it stays.
//! - **One incomplete answer removes nothing.** A backend leaves after two answers in a row without
//!   it, because a server of a large DNS zone may answer with a part of the records, and the EC2
//!   API may be a moment behind. A file is complete, so one reading without the backend suffices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::SystemTime,
};

use super::{Answer, ListedBackend, Now, SavedBackend, SourceError};
use crate::config::{Backend, Discover, DiscoverySource, Name};

/// The backends of one pool, and the state of their source.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    settings: Discover,
    members: BTreeMap<SocketAddr, Member>,
    source: SourceState,
}

#[derive(Clone, Debug, PartialEq)]
struct Member {
    listed: ListedBackend,
    presence: Presence,
}

/// Whether the source still has a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    /// The source listed the backend in all but the last `absences` answers.
    Listed {
        /// Number of answers in a row without the backend.
        absences: u32,
    },
    /// The source no longer has the backend, which leaves the pool at this time.
    Leaving(Now),
}

/// How the source of a pool answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SourceState {
    /// When the source last answered with at least one backend; `None` if it has not since the
    /// agent started or the source was configured.
    pub answered: Option<SystemTime>,
    /// Since when the source has failed or answered without backends; `None` if the last query
    /// found backends, or none was made.
    pub failing_since: Option<SystemTime>,
    /// Why the last query failed or found no backends, as a sentence; `None` otherwise.
    pub error: Option<String>,
}

/// A change of the backends of a pool, or of the state of their source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MembershipChange {
    /// The source has a backend that was not in the pool, or that was leaving.
    Added(Name),
    /// The source has changed the name, weight or backup state of a backend.
    Changed(Name),
    /// The source no longer has a backend, which is drained from now on.
    Leaving(Name),
    /// A backend has left the pool, because its drain time has passed.
    Removed(Name),
    /// The source has begun to fail, for this reason.
    Failing(String),
    /// The source answers again.
    Restored,
}

impl Membership {
    /// Returns the membership of a pool without backends, whose source has not been asked.
    #[must_use]
    pub fn new(settings: Discover) -> Self {
        Self {
            settings,
            members: BTreeMap::new(),
            source: SourceState::default(),
        }
    }

    /// Returns the membership of a pool with backends that the pool had before it discovered them.
    /// The first answers of the source decide which of them stay.
    #[must_use]
    pub fn with_listed(
        settings: Discover,
        backends: impl IntoIterator<Item = ListedBackend>,
    ) -> Self {
        let mut membership = Self::new(settings);
        for listed in backends {
            membership.insert(listed, Presence::Listed { absences: 0 });
        }
        membership
    }

    /// Returns the membership of a pool with backends that an earlier agent saved. The first answers
    /// of the source decide which of them stay. A backend that is leaving is drained until the time
    /// that was saved, but for no longer than the drain time: the wall clock may have been set back
    /// since.
    #[must_use]
    pub fn with_saved(
        settings: Discover,
        backends: impl IntoIterator<Item = SavedBackend>,
        now: Now,
    ) -> Self {
        let drain = settings.drain;
        let mut membership = Self::new(settings);
        for SavedBackend { listed, leaves_at } in backends {
            let presence = match leaves_at {
                Some(leaves_at) => {
                    let left = leaves_at.duration_since(now.wall).unwrap_or_default();
                    Presence::Leaving(now.after(left.min(drain)))
                }
                None => Presence::Listed { absences: 0 },
            };
            membership.insert(listed, presence);
        }
        membership
    }

    /// Returns this membership with another source, which has not been asked: its first answers
    /// decide which backends stay. Backends that are leaving continue to leave.
    #[must_use]
    pub fn with_source(mut self, settings: Discover) -> Self {
        self.settings = settings;
        self.source = SourceState::default();
        for member in self.members.values_mut() {
            if let Presence::Listed { absences } = &mut member.presence {
                *absences = 0;
            }
        }
        self
    }

    /// Returns this membership with other settings of the same source: a new drain time applies to
    /// backends that begin to leave from now on.
    #[must_use]
    pub fn with_settings(mut self, settings: Discover) -> Self {
        self.settings = settings;
        self
    }

    /// Returns the settings of the pool's discovery.
    #[must_use]
    pub fn settings(&self) -> &Discover {
        &self.settings
    }

    /// Returns the state of the pool's source.
    #[must_use]
    pub fn source(&self) -> &SourceState {
        &self.source
    }

    /// Returns the backends of the pool, sorted by their addresses.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        self.members.values().map(Member::backend).collect()
    }

    /// Returns the backends to be saved for the next agent.
    #[must_use]
    pub fn saved(&self) -> Vec<SavedBackend> {
        let saved = self.members.values().map(|member| SavedBackend {
            listed: member.listed.clone(),
            leaves_at: match member.presence {
                Presence::Leaving(until) => Some(until.wall),
                Presence::Listed { .. } => None,
            },
        });
        saved.collect()
    }

    /// Applies the outcome of a query of the source. Returns what it changes.
    pub fn apply(
        &mut self,
        outcome: Result<Answer, SourceError>,
        now: Now,
    ) -> Vec<MembershipChange> {
        match outcome {
            Ok(answer) if answer.backends.is_empty() => {
                let found = format!("{} has no backends", self.settings.source);
                self.failed(found, now.wall)
            }
            Ok(answer) => self.answered(answer.backends, now),
            Err(error) => self.failed(error.to_string(), now.wall),
        }
    }

    /// Removes the backends whose drain time has passed, but only if `is_served` is true, which
    /// means that the pool has a backend that is up and not leaving. Returns the changes.
    pub fn expire(&mut self, now: Now, is_served: bool) -> Vec<MembershipChange> {
        let mut changes = Vec::new();
        if !is_served {
            return changes;
        }
        self.members.retain(|_, member| match member.presence {
            Presence::Leaving(until) if until.monotonic <= now.monotonic => {
                changes.push(MembershipChange::Removed(member.name()));
                false
            }
            _ => true,
        });
        changes
    }

    fn insert(&mut self, listed: ListedBackend, presence: Presence) {
        let member = Member { listed, presence };
        self.members.insert(member.listed.address, member);
    }

    fn failed(&mut self, found: String, now: SystemTime) -> Vec<MembershipChange> {
        let is_first = self.source.failing_since.is_none();
        self.source.failing_since.get_or_insert(now);
        self.source.error = Some(found.clone());
        // A failure is reported once, and not again at every query until the source answers.
        let failing = is_first.then_some(MembershipChange::Failing(found));
        failing.into_iter().collect()
    }

    fn answered(&mut self, listed: Vec<ListedBackend>, now: Now) -> Vec<MembershipChange> {
        let mut changes = Vec::new();
        if self.source.failing_since.is_some() {
            changes.push(MembershipChange::Restored);
        }
        self.source = SourceState {
            answered: Some(now.wall),
            failing_since: None,
            error: None,
        };
        let mut present = BTreeSet::new();
        for one in listed {
            // If the source lists an address twice, the first entry is used.
            if present.insert(one.address) {
                changes.extend(self.list(one));
            }
        }
        let until = now.after(self.settings.drain);
        let most = absences_that_remove(&self.settings.source);
        for (_, member) in self
            .members
            .iter_mut()
            .filter(|(at, _)| !present.contains(at))
        {
            changes.extend(member.absent(most, until));
        }
        changes
    }

    /// Records that the source has a backend. Returns the change of the pool, if there is one.
    fn list(&mut self, listed: ListedBackend) -> Option<MembershipChange> {
        let presence = Presence::Listed { absences: 0 };
        let new = Member { listed, presence };
        let name = new.name();
        let before = self.members.insert(new.listed.address, new.clone());
        match before {
            None => Some(MembershipChange::Added(name)),
            Some(before) if before.is_leaving() => Some(MembershipChange::Added(name)),
            Some(before) if before.listed != new.listed => Some(MembershipChange::Changed(name)),
            Some(_) => None,
        }
    }
}

/// Returns how many answers in a row without a backend make it leave the pool.
fn absences_that_remove(source: &DiscoverySource) -> u32 {
    match source {
        DiscoverySource::File(_) => 1,
        DiscoverySource::Dns { .. } | DiscoverySource::Srv { .. } | DiscoverySource::Ec2 { .. } => {
            2
        }
    }
}

impl Member {
    /// Records that the source has answered without the backend. After `most` such answers in a row
    /// the backend is leaving, until `until`.
    fn absent(&mut self, most: u32, until: Now) -> Option<MembershipChange> {
        let Presence::Listed { absences } = &mut self.presence else {
            return None;
        };
        *absences += 1;
        if *absences < most {
            return None;
        }
        self.presence = Presence::Leaving(until);
        Some(MembershipChange::Leaving(self.name()))
    }

    fn is_leaving(&self) -> bool {
        matches!(self.presence, Presence::Leaving(_))
    }

    fn name(&self) -> Name {
        let name = self.listed.name.clone();
        name.unwrap_or_else(|| Name::of_address(self.listed.address))
    }

    fn backend(&self) -> Backend {
        Backend {
            leaving: self.is_leaving(),
            ..self.listed.clone().into()
        }
    }
}

#[cfg(test)]
mod tests;
