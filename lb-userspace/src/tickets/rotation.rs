//! A pure state machine that decides which session ticket keys are accepted and which one tickets
//! are issued with.
//!
//! A key issues tickets for [`ISSUES`] and is accepted for [`ACCEPTED`]: the last ticket that it
//! issued is accepted for the whole [`LIFETIME`]. As a new key is created every [`ISSUES`], the two
//! previous keys are accepted as well.
//!
//! Each host accepts its own keys and the peer's. The active host creates new keys, and both hosts
//! issue tickets with the active host's key. While neither host is active, or both are, they issue
//! tickets with the newest key.

use std::{cmp::Reverse, time::Duration};

use lb_ha::Time;

use super::key::{KeyId, Offer, OfferedKey, TicketKey};

/// How long after its creation a key issues tickets.
pub(super) const ISSUES: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a session ticket is valid after it was issued.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long after a key's creation the tickets that it issued are accepted.
const ACCEPTED: Duration = Duration::from_secs(18 * 60 * 60);
const _CHECK: () = assert!(ISSUES.as_secs() + LIFETIME.as_secs() == ACCEPTED.as_secs());
/// Limit of the number of keys that a host keeps: more than two hosts create within [`ACCEPTED`],
/// even if they restart. Beyond the limit, the oldest keys are dropped.
const MOST_KEYS: usize = 16;

/// The session ticket keys of a host.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The keys, newest first. The list is empty only if all keys have expired and the requested
    /// new key has not been created yet.
    keys: Vec<Key>,
    issuer: KeyId,
    /// Whether this host is active or has no peer, and therefore creates new keys.
    active: bool,
}

#[derive(Clone, Debug)]
struct Key {
    material: TicketKey,
    /// When the key's tickets are no longer accepted. The key's age is derived from this time,
    /// because the key may have been created before the start of this host's clock.
    ends: Time,
}

/// An event that the state machine of the keys handles.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed since the last event.
    Tick,
    /// The key that [`Action::Make`] requested was created.
    Made(TicketKey),
    /// The host became active or has no peer (true), or is no longer active (false).
    Active(bool),
    /// The link to the peer came up.
    LinkUp,
    /// The peer sent its keys.
    Received(Offer),
}

/// An action that the caller of the state machine must carry out.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create a random key and pass it to the state machine as [`Event::Made`].
    Make,
    /// Accept the tickets of all [`Rotation::keys`], and issue tickets with the first of these
    /// keys.
    Publish,
    /// Send this host's keys to the peer.
    Send(Offer),
}

impl Rotation {
    /// Creates the state of a host that has no peer, with its first key.
    #[must_use]
    pub fn new(now: Time, first: TicketKey) -> Self {
        Self {
            issuer: first.id,
            keys: vec![Key::new(first, now)],
            active: true,
        }
    }

    /// Handles an event and returns the actions that the caller must carry out.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Made(material) => self.made(now, material),
            Event::Active(active) => {
                self.active = active;
                self.tick(now)
            }
            Event::LinkUp => vec![Action::Send(self.offer(now))],
            Event::Received(offer) => self.received(now, offer),
        }
    }

    /// Returns the keys whose tickets are accepted; the first one is the key that issues tickets.
    pub fn keys(&self) -> impl Iterator<Item = &TicketKey> {
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

    fn made(&mut self, now: Time, material: TicketKey) -> Vec<Action> {
        self.issuer = material.id;
        self.keys.push(Key::new(material, now));
        self.sort();
        self.forget(now);
        vec![Action::Publish, Action::Send(self.offer(now))]
    }

    fn received(&mut self, now: Time, offer: Offer) -> Vec<Action> {
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

    /// Removes keys that have expired. Returns whether any key was removed.
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

    /// Returns whether this host must create a new key: the active host must when the issuing key
    /// is too old, and a standby only if all its keys have expired.
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
    fn new(material: TicketKey, now: Time) -> Self {
        Self {
            material,
            ends: now + ACCEPTED,
        }
    }

    /// Converts a key that the peer sent. Returns `None` if the key has expired.
    fn offered(offered: &OfferedKey, now: Time) -> Option<Self> {
        let left = ACCEPTED.checked_sub(Duration::from_millis(offered.age))?;
        (!left.is_zero()).then(|| Self {
            material: TicketKey::new(offered.id, offered.secret),
            ends: now + left,
        })
    }

    fn age(&self, now: Time) -> Duration {
        ACCEPTED.saturating_sub(self.ends.since(now))
    }
}

#[cfg(test)]
mod tests;
