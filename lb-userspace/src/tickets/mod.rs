//! The keys of TLS session tickets, which the two hosts of a pair share: a session made at one
//! resumes at the other.
//!
//! [`Rotation`] is the state machine: which keys are accepted, and which one issues. `ticketer`
//! makes and reads tickets with them, for rustls. [`TicketKeys`] joins the two to the clock and to
//! random numbers. Keys live in memory only: a restarted host asks its peer for them.

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

pub use key::{KeyId, Material, Offer, OfferedKey};
pub use rotation::{Action, Event, Rotation};

use crate::config::Name;
use ticketer::{Ring, Ticketer};

/// The keys of all services of a host. Cheap to clone; all clones are the same keys.
#[derive(Clone)]
pub struct TicketKeys(Arc<Inner>);

struct Inner {
    /// What handshakes read, without a lock.
    ring: Arc<ArcSwap<Ring>>,
    rotation: Mutex<Rotation>,
    began: Instant,
}

/// The system had no random numbers to make a key of.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system gives no random numbers for a key of session tickets")]
pub struct NoRandomness;

impl TicketKeys {
    /// A first key of this host's own. It is alone, and rotates, until it is told otherwise.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, NoRandomness> {
        let rotation = Rotation::new(Time::default(), draw()?);
        Ok(Self(Arc::new(Inner {
            ring: Arc::new(ArcSwap::from_pointee(Ring::of(&rotation))),
            rotation: Mutex::new(rotation),
            began: Instant::now(),
        })))
    }

    /// What makes and reads the tickets of a service. Tickets of one service are nothing to another.
    #[must_use]
    pub fn ticketer(&self, service: &Name) -> Arc<dyn ProducesTickets> {
        Arc::new(Ticketer::new(service, Arc::clone(&self.0.ring)))
    }

    /// Time passes: keys end, a new one is made when it is due. To be called every minute or more
    /// often. What it returns is to be told to the peer.
    #[must_use]
    pub fn tick(&self) -> Option<Offer> {
        self.step(Event::Tick)
    }

    /// This host is active, or has no peer, and so makes the new keys; or it no longer is. What it
    /// returns is to be told to the peer.
    #[must_use]
    pub fn set_active(&self, active: bool) -> Option<Offer> {
        self.step(Event::Active(active))
    }

    /// The link has come up: what it returns is to be told to the peer.
    #[must_use]
    pub fn link_up(&self) -> Option<Offer> {
        self.step(Event::LinkUp)
    }

    /// The peer told its keys.
    pub fn heard(&self, offer: Offer) {
        let _nothing = self.step(Event::Heard(offer));
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
                    // The next tick tries again.
                    Err(error) => tracing::error!("{error}; the one in use stays"),
                },
                Action::Publish => self.0.ring.store(Arc::new(Ring::of(&rotation))),
                Action::Tell(told) => offer = Some(told),
            }
        }
        offer
    }

    /// A step that panicked would have left keys that can be used all the same.
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

fn draw() -> Result<Material, NoRandomness> {
    let mut id = [0; key::ID_BYTES];
    let mut secret = [0; key::SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| NoRandomness)?;
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| NoRandomness)?;
    Ok(Material::new(KeyId(id), secret))
}

#[cfg(test)]
mod tests;
