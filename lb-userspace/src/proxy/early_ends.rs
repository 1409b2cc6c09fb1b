//! The most recent requests, handshakes, connections and tunnels that ended early, with the bytes
//! that violated the protocol: what `lb errors` shows.
//!
//! A lock protects the list. It is taken only when something ends early and when the list is read.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::reason::Reason;
use crate::config::Name;

/// A request, handshake, connection or tunnel that ended early.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndedEarly {
    /// When the request, handshake, connection or tunnel ended.
    pub time: SystemTime,
    /// Why the request, handshake, connection or tunnel ended early.
    pub reason: Reason,
    /// The service that the client was connected to.
    pub service: Name,
    /// The address and port of the client.
    pub client: SocketAddr,
    /// The HTTP status sent to the client; 0 if none was sent.
    pub status: u16,
    /// The name of the backend that had the request last; `None` if no backend had it.
    pub backend: Option<Name>,
    /// Number of attempts to send the request to a backend.
    pub attempts: u32,
    /// Time from the end of the request's head until the request or its tunnel ended early; `None`
    /// if there was no request.
    pub after: Option<Duration>,
    /// The beginning of the request as it was forwarded: request line and Host field.
    pub request: Vec<u8>,
    /// The beginning of the bytes that violated the protocol; empty if nothing did.
    pub offending: Vec<u8>,
}

/// A ring buffer of the most recent requests, handshakes, connections and tunnels that ended early.
#[derive(Debug, Default)]
pub(super) struct EarlyEnds(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    most: usize,
    entries: VecDeque<EndedEarly>,
}

impl EarlyEnds {
    /// Sets how many requests, handshakes, connections and tunnels that ended early are kept; if
    /// there are more, the oldest are dropped.
    pub(super) fn limit(&self, most: usize) {
        let mut ring = self.ring();
        ring.most = most;
        let surplus = ring.entries.len().saturating_sub(most);
        ring.entries.drain(..surplus);
        ring.entries.shrink_to_fit();
    }

    /// Adds a request, handshake, connection or tunnel that ended early. If as many as allowed are
    /// kept already, the new one replaces the oldest.
    pub(super) fn push(&self, entry: EndedEarly) {
        let mut ring = self.ring();
        let oldest = if ring.entries.len() >= ring.most {
            ring.entries.pop_front()
        } else {
            None
        };
        if ring.most > 0 {
            ring.entries.push_back(entry);
        }
        drop(ring);
        // The oldest entry, which the new one has replaced in the list, is freed only after the
        // lock is released.
        drop(oldest);
    }

    /// Returns all requests, handshakes, connections and tunnels that ended early and are still
    /// kept, oldest first.
    pub(super) fn all(&self) -> Vec<EndedEarly> {
        self.ring().entries.iter().cloned().collect()
    }

    /// Locks the ring buffer, even after a panic of a thread that held the lock: the ring buffer is
    /// consistent then too.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(status: u16) -> EndedEarly {
        EndedEarly {
            time: SystemTime::UNIX_EPOCH,
            reason: Reason::LbQueueNoBackend,
            service: Name::parse("web").expect("a good name"),
            client: SocketAddr::from(([192, 0, 2, 7], 1)),
            status,
            backend: None,
            attempts: 0,
            after: None,
            request: Vec::new(),
            offending: Vec::new(),
        }
    }

    fn kept(errors: &EarlyEnds) -> Vec<u16> {
        errors.all().iter().map(|entry| entry.status).collect()
    }

    #[test]
    fn the_last_ones_are_kept_the_oldest_first() {
        let errors = EarlyEnds::default();
        errors.limit(3);
        (1..=5).for_each(|status| errors.push(entry(status)));
        assert_eq!(kept(&errors), [3, 4, 5]);
        errors.limit(2);
        assert_eq!(kept(&errors), [4, 5]);
        errors.limit(0);
        errors.push(entry(6));
        assert!(kept(&errors).is_empty());
    }
}
