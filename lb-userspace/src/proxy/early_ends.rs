//! The last exchanges that ended early, with what broke the rules, for whoever asks why.
//!
//! They are behind a lock that is taken only when something ends early, and when somebody asks.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::reason::Reason;
use crate::config::Name;

/// Something that ended early: a request, a handshake, a connection or a tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndedEarly {
    /// When it ended.
    pub time: SystemTime,
    /// Why.
    pub reason: Reason,
    /// The service.
    pub service: Name,
    /// The client.
    pub client: SocketAddr,
    /// The status that the client was sent; 0: none.
    pub status: u16,
    /// The backend that had the request last.
    pub backend: Option<Name>,
    /// How often the request was sent to a backend, or tried to be.
    pub attempts: u32,
    /// How long after the head of the request had come; `None` where there was no request.
    pub after: Option<Duration>,
    /// The beginning of the request as the backend was to have it: its first line and Host.
    pub request: Vec<u8>,
    /// The beginning of what broke the rules.
    pub offending: Vec<u8>,
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct EarlyEnds(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    most: usize,
    entries: VecDeque<EndedEarly>,
}

impl EarlyEnds {
    /// Keeps so many from now on.
    pub(super) fn limit(&self, most: usize) {
        let mut ring = self.ring();
        ring.most = most;
        let surplus = ring.entries.len().saturating_sub(most);
        ring.entries.drain(..surplus);
        ring.entries.shrink_to_fit();
    }

    /// Keeps one, in place of the oldest where there are enough.
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
        // Its memory is given back without the lock.
        drop(oldest);
    }

    /// All that are kept, the oldest first.
    pub(super) fn all(&self) -> Vec<EndedEarly> {
        self.ring().entries.iter().cloned().collect()
    }

    /// Whoever panicked with the lock had changed all of it or nothing.
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
