//! The keys of TLS session tickets. The two hosts of a pair share them, so that a session of one
//! host resumes at the other.
//!
//! [`Rotation`] is the state machine that decides which keys are accepted and which one new tickets
//! are issued with. `ticketer` encrypts and decrypts tickets for rustls. [`TicketKeys`] connects
//! both to the clock and to the random number generator. Keys are kept in memory only: a restarted
//! host gets them from its peer.

#![forbid(unsafe_code)]

mod key;
mod rotation;
mod ticketer;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;
use lb_ha::Time;
use rustls::server::ProducesTickets;

pub use key::{KeyId, Offer, OfferedKey, TicketKey};
pub use rotation::{Action, Event, Rotation};

use crate::config::Name;
use ticketer::{Keyring, Ticketer};

/// The session ticket keys of a host, for all services. Clones share the keys.
#[derive(Clone)]
pub struct TicketKeys(Arc<Inner>);

struct Inner {
    /// The session ticket keys that are accepted. TLS handshakes read them without a lock.
    ring: Arc<ArcSwap<Keyring>>,
    rotation: Mutex<Rotation>,
    began: Instant,
}

/// The error that the system returned no random numbers for a session ticket key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system returned no random numbers for a session ticket key")]
pub struct NoRandomness;

impl TicketKeys {
    /// Creates the set of keys, with its first key. The host is regarded as having no peer, and
    /// therefore creates new keys, until [`Self::set_active`] is called.
    ///
    /// # Errors
    /// The system returned no random numbers.
    pub fn new() -> Result<Self, NoRandomness> {
        let rotation = Rotation::new(Time::default(), draw()?);
        Ok(Self(Arc::new(Inner {
            ring: Arc::new(ArcSwap::from_pointee(Keyring::of(&rotation))),
            rotation: Mutex::new(rotation),
            began: Instant::now(),
        })))
    }

    /// Returns the object that encrypts and decrypts the session tickets of a service for rustls.
    /// It cannot decrypt the tickets of other services.
    #[must_use]
    pub fn ticketer(&self, service: &Name) -> Arc<dyn ProducesTickets> {
        Arc::new(Ticketer::new(service, Arc::clone(&self.0.ring)))
    }

    /// Removes expired keys and creates a new key when it is due. Must be called at least once a
    /// minute. If an offer is returned, it must be sent to the peer.
    #[must_use]
    pub fn tick(&self) -> Option<Offer> {
        self.step(Event::Tick)
    }

    /// Sets whether this host is active or has no peer, and therefore creates new keys. If an offer
    /// is returned, it must be sent to the peer.
    #[must_use]
    pub fn set_active(&self, active: bool) -> Option<Offer> {
        self.step(Event::Active(active))
    }

    /// Records that the link to the peer came up. The returned offer must be sent to the peer.
    #[must_use]
    pub fn link_up(&self) -> Option<Offer> {
        self.step(Event::LinkUp)
    }

    /// Accepts the session ticket keys that the peer sent.
    pub fn heard(&self, offer: Offer) {
        let _nothing = self.step(Event::Received(offer));
    }

    fn step(&self, event: Event) -> Option<Offer> {
        let now = Time::after_start(self.0.began.elapsed());
        let mut rotation = self.rotation();
        let mut offer = None;
        let mut actions = rotation.step(now, event);
        while let Some(action) = actions.pop() {
            match action {
                Action::Make => match draw() {
                    Ok(material) => actions.extend(rotation.step(now, Event::Made(material))),
                    // The next call of `tick` tries to create the key again.
                    Err(error) => {
                        tracing::error!(%error, "cannot create a session ticket key; the current one stays");
                    }
                },
                Action::Publish => self.0.ring.store(Arc::new(Keyring::of(&rotation))),
                Action::Send(told) => offer = Some(told),
            }
        }
        offer
    }

    /// Locks the state machine. A poisoned lock is used as it is: a step of the state machine that
    /// panicked leaves usable keys.
    fn rotation(&self) -> MutexGuard<'_, Rotation> {
        let rotation = &self.0.rotation;
        rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TicketKeys")
            .field(&*self.rotation())
            .finish()
    }
}

fn draw() -> Result<TicketKey, NoRandomness> {
    let mut id = [0; key::ID_BYTES];
    let mut secret = [0; key::SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| NoRandomness)?;
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| NoRandomness)?;
    Ok(TicketKey::new(KeyId(id), secret))
}

#[cfg(test)]
mod tests;
