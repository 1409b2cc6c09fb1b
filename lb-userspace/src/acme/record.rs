//! What is kept of the orders of a certificate, on disk and at the peer.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Orders that may begin within any hour, on both hosts of a pair together. Let's Encrypt refuses
/// after five failed authorizations for an account and a name in an hour; one is left for other
/// clients of the account.
pub const MOST_ORDERS_AN_HOUR: usize = 4;
/// Those of them that a host of a pair may begin by itself while it cannot ask the other one: the
/// other one may do the same.
const MOST_ALONE_AN_HOUR: usize = MOST_ORDERS_AN_HOUR / 2;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// Its `notBefore`.
    pub not_before: SystemTime,
    /// Its `notAfter`.
    pub not_after: SystemTime,
}

/// When the directory suggests to renew (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Its first moment.
    pub start: SystemTime,
    /// Its end.
    pub end: SystemTime,
}

/// A [`Window`], in seconds since 1970, and the certificate that it is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Suggestion {
    /// The `notBefore` of that certificate.
    pub certificate: u64,
    /// The window's first moment.
    pub start: u64,
    /// Its end.
    pub end: u64,
}

/// What must outlive a restart, so that an agent that restarts often orders no more often, and what
/// the peer must know, so that two hosts order no more often than one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OrderRecord {
    /// Failures since the last certificate.
    pub failures: u32,
    /// Whether the last failure was that of the directory itself.
    pub unreachable: bool,
    /// When the last orders of this host began, in seconds since 1970, the oldest first; at most
    /// [`MOST_ORDERS_AN_HOUR`].
    pub began: Vec<u64>,
    /// The same of the peer, as far as it is known.
    #[serde(default)]
    pub peer_began: Vec<u64>,
    /// The directory wants no order before this second since 1970.
    pub retry_after: Option<u64>,
    /// When the directory suggests to renew.
    #[serde(default)]
    pub window: Option<Suggestion>,
}

impl OrderRecord {
    /// When the last order of either host began, in seconds since 1970.
    pub(super) fn last(&self) -> Option<u64> {
        self.began.last().max(self.peer_began.last()).copied()
    }

    /// An order of this host begins.
    pub(super) fn note_own_order(&mut self, now: SystemTime) {
        note(&mut self.began, now);
    }

    /// An order of the peer begins.
    pub(super) fn note_peer_order(&mut self, now: SystemTime) {
        note(&mut self.peer_began, now);
    }

    /// When this host may begin another order within the limits of an hour. `cut_off`: it cannot ask
    /// the other host of its pair.
    pub(super) fn next_allowed(&self, cut_off: bool) -> SystemTime {
        let mut all = [self.began.as_slice(), self.peer_began.as_slice()].concat();
        all.sort_unstable();
        let together = over(&all, MOST_ORDERS_AN_HOUR);
        let alone = if cut_off {
            MOST_ALONE_AN_HOUR
        } else {
            usize::MAX
        };
        together.max(over(&self.began, alone))
    }

    /// A clock that was set back leaves moments that would have to be waited for.
    pub(super) fn clamp_to(&mut self, now: SystemTime) {
        let now = to_unix(now);
        for began in self.began.iter_mut().chain(&mut self.peer_began) {
            *began = (*began).min(now);
        }
    }

    /// Takes in when the peer began orders. What it says of its own is right; what it knows of this
    /// host's counts where this host has forgotten all of it.
    pub(super) fn merge_orders(&mut self, theirs: &Self, now: SystemTime) {
        if !theirs.began.is_empty() {
            self.peer_began = newest(&theirs.began);
        }
        if self.began.is_empty() {
            self.began = newest(&theirs.peer_began);
        }
        self.clamp_to(now);
    }

    /// Takes in what the peer knows of orders for the very certificate that this host has too: the
    /// greater of both counts.
    pub(super) fn merge_failures(&mut self, theirs: &Self) {
        self.unreachable = match theirs.failures.cmp(&self.failures) {
            std::cmp::Ordering::Less => self.unreachable,
            std::cmp::Ordering::Equal => self.unreachable && theirs.unreachable,
            std::cmp::Ordering::Greater => theirs.unreachable,
        };
        self.failures = self.failures.max(theirs.failures);
        self.retry_after = self.retry_after.max(theirs.retry_after);
    }

    /// There is a new certificate: what was known of the old one's renewal is over.
    pub(super) fn begin_certificate(&mut self) {
        self.failures = 0;
        self.unreachable = false;
        self.retry_after = None;
        self.window = None;
    }
}

/// When there may be another where `most` may begin within an hour.
fn over(began: &[u64], most: usize) -> SystemTime {
    let counts = began.len().checked_sub(most).and_then(|at| began.get(at));
    counts.map_or(SystemTime::UNIX_EPOCH, |oldest| from_unix(*oldest) + HOUR)
}

fn note(began: &mut Vec<u64>, now: SystemTime) {
    began.push(to_unix(now));
    *began = newest(began);
}

/// The last of them, of which more are not needed.
fn newest(began: &[u64]) -> Vec<u64> {
    let surplus = began.len().saturating_sub(MOST_ORDERS_AN_HOUR);
    began.get(surplus..).unwrap_or_default().to_vec()
}

pub(super) fn to_unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Bounded, so that a damaged record cannot overflow the time: the year 2169 at the latest.
pub(super) fn from_unix(seconds: u64) -> SystemTime {
    const LATEST: u64 = 200 * 365 * 24 * 3600;
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}
