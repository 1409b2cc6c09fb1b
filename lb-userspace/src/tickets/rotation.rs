//! Which keys are accepted, and which one issues: a pure state machine.
//!
//! A key issues for [`ISSUES`] and is accepted for [`ACCEPTED`]: a ticket that it issued last lives
//! for its whole lifetime, and with a new key every [`ISSUES`] that makes the two before it.
//!
//! Both hosts accept all keys of both. The active host makes the new ones, and the key that it
//! issues with is the one that both issue with. While nobody is active, or both say they are, the
//! newest key issues.

use std::{cmp::Reverse, time::Duration};

use lb_ha::Time;

use super::key::{KeyId, Material, Offer, OfferedKey};

/// How long a key issues tickets.
pub(super) const ISSUES: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a ticket may be used.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a key is accepted.
const ACCEPTED: Duration = Duration::from_secs(18 * 60 * 60);
const _CHECK: () = assert!(ISSUES.as_secs() + LIFETIME.as_secs() == ACCEPTED.as_secs());
/// More keys than two hosts make within [`ACCEPTED`], restarts included. The oldest go.
const MOST_KEYS: usize = 16;

/// The keys of a host.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The newest first. None only until the one that was asked for is there.
    keys: Vec<Key>,
    issuer: KeyId,
    /// Whether this host makes the new keys.
    active: bool,
}

#[derive(Clone, Debug)]
struct Key {
    material: Material,
    /// From then on it is not accepted. Its age follows from it: what was made before this host's
    /// clock began has an end all the same.
    ends: Time,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The key that was asked for.
    Made(Material),
    /// Whether this host is active, or has no peer.
    Active(bool),
    /// The link came up.
    LinkUp,
    /// The peer told its keys.
    Heard(Offer),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Draw a key at random, and say [`Event::Made`].
    Make,
    /// Accept [`Rotation::keys`] and issue with the first of them from now on.
    Publish,
    /// Tell the peer.
    Tell(Offer),
}

impl Rotation {
    /// The keys of a host that is alone.
    #[must_use]
    pub fn new(now: Time, first: Material) -> Self {
        Self {
            issuer: first.id,
            keys: vec![Key::new(first, now)],
            active: true,
        }
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Made(material) => self.made(now, material),
            Event::Active(active) => {
                self.active = active;
                self.tick(now)
            }
            Event::LinkUp => vec![Action::Tell(self.offer(now))],
            Event::Heard(offer) => self.heard(now, offer),
        }
    }

    /// The keys that are accepted, the one that issues first.
    pub fn keys(&self) -> impl Iterator<Item = &Material> {
        let issues = |key: &&Key| key.material.id == self.issuer;
        let issuer = self.keys.iter().filter(issues);
        let others = self.keys.iter().filter(move |key| !issues(key));
        issuer.chain(others).map(|key| &key.material)
    }

    fn tick(&mut self, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.forget(now) {
            actions.push(Action::Publish);
        }
        if self.is_due(now) {
            actions.push(Action::Make);
        }
        actions
    }

    fn made(&mut self, now: Time, material: Material) -> Vec<Action> {
        self.issuer = material.id;
        self.keys.push(Key::new(material, now));
        self.sort();
        self.forget(now);
        vec![Action::Publish, Action::Tell(self.offer(now))]
    }

    fn heard(&mut self, now: Time, offer: Offer) -> Vec<Action> {
        for offered in offer.keys.into_iter().take(MOST_KEYS) {
            let is_known = self.keys.iter().any(|key| key.material.id == offered.id);
            if let (false, Some(key)) = (is_known, Key::offered(&offered, now)) {
                self.keys.push(key);
            }
        }
        self.sort();
        self.issuer = match (self.active, offer.active) {
            (true, false) => self.issuer,
            (false, true) => self.known(offer.issuer).unwrap_or(self.issuer),
            _ => self.keys.first().map_or(self.issuer, |key| key.material.id),
        };
        self.keys.truncate(MOST_KEYS);
        self.forget(now);
        vec![Action::Publish]
    }

    /// Drops keys that have ended. True when there were some.
    fn forget(&mut self, now: Time) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.ends > now);
        if self.known(self.issuer).is_none()
            && let Some(newest) = self.keys.first()
        {
            self.issuer = newest.material.id;
        }
        self.keys.len() != before
    }

    /// Whether a new key is to be made here: by the active host when it is time, by a standby only
    /// when it has heard of none for so long that it has none left.
    fn is_due(&self, now: Time) -> bool {
        let issuer = self.keys.iter().find(|key| key.material.id == self.issuer);
        issuer.is_none_or(|key| self.active && key.age(now) >= ISSUES)
    }

    fn known(&self, id: KeyId) -> Option<KeyId> {
        let mut keys = self.keys.iter().map(|key| key.material.id);
        keys.find(|known| *known == id)
    }

    fn sort(&mut self) {
        self.keys
            .sort_by_key(|key| Reverse((key.ends, key.material.id)));
    }

    fn offer(&self, now: Time) -> Offer {
        let keys = self.keys.iter().map(|key| OfferedKey {
            id: key.material.id,
            secret: *key.material.secret,
            age: u64::try_from(key.age(now).as_millis()).unwrap_or(u64::MAX),
        });
        Offer {
            keys: keys.collect(),
            issuer: self.issuer,
            active: self.active,
        }
    }
}

impl Key {
    fn new(material: Material, now: Time) -> Self {
        Self {
            material,
            ends: now + ACCEPTED,
        }
    }

    /// `None` when it has ended.
    fn offered(offered: &OfferedKey, now: Time) -> Option<Self> {
        let left = ACCEPTED.checked_sub(Duration::from_millis(offered.age))?;
        (!left.is_zero()).then(|| Self {
            material: Material::new(offered.id, offered.secret),
            ends: now + left,
        })
    }

    fn age(&self, now: Time) -> Duration {
        ACCEPTED.saturating_sub(self.ends.since(now))
    }
}

#[cfg(test)]
mod tests;
