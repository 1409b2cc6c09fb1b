//! The history of a certificate's orders, kept on disk and sent to the peer.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Limit of orders that begin within an hour, on both hosts of a pair together. Let's Encrypt
/// limits an account to five failed authorizations per name and hour; the fifth is left for other
/// clients of the account.
pub const MOST_ORDERS_AN_HOUR: usize = 4;
/// How many orders a host may begin within an hour while it cannot ask the peer, which may begin as
/// many. Together they keep to [`MOST_ORDERS_AN_HOUR`].
const MOST_ALONE_AN_HOUR: usize = MOST_ORDERS_AN_HOUR / 2;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The beginning of the certificate's validity (`notBefore`).
    pub not_before: SystemTime,
    /// The end of the certificate's validity (`notAfter`).
    pub not_after: SystemTime,
}

/// The time span in which the directory suggests to renew a certificate (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// When the time span begins in which the directory suggests to renew the certificate.
    pub start: SystemTime,
    /// When the time span ends in which the directory suggests to renew the certificate.
    pub end: SystemTime,
}

/// A [`Window`] as it is stored, and the certificate that it applies to. All times are in seconds
/// since 1970.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Suggestion {
    /// When the certificate that the window applies to becomes valid (`notBefore`).
    pub certificate: u64,
    /// When the suggested renewal window begins, in seconds since 1970.
    pub start: u64,
    /// When the suggested renewal window ends, in seconds since 1970.
    pub end: u64,
}

/// The history of the orders of one certificate. It outlives a restart, so that an agent that
/// restarts often does not order more often; and it is sent to the peer, so that the two hosts of a
/// pair do not order more often than one host.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OrderRecord {
    /// Number of failed orders since the last certificate was issued.
    pub failures: u32,
    /// Whether the last order failed because the directory was unreachable or failed itself.
    pub unreachable: bool,
    /// When this host's last orders began, in seconds since 1970, oldest first; at most
    /// [`MOST_ORDERS_AN_HOUR`].
    pub began: Vec<u64>,
    /// When the peer's last orders began, as far as known: in seconds since 1970, oldest first.
    #[serde(default)]
    pub peer_began: Vec<u64>,
    /// The second since 1970 before which the directory accepts no order; `None` if it named none.
    pub retry_after: Option<u64>,
    /// The renewal window that the directory suggested last; `None` if it suggested none.
    #[serde(default)]
    pub window: Option<Suggestion>,
}

impl OrderRecord {
    /// Returns when the last order of either host began, in seconds since 1970; `None` if there was
    /// none.
    pub(super) fn last(&self) -> Option<u64> {
        self.began.last().max(self.peer_began.last()).copied()
    }

    /// Records that an order of this host begins.
    pub(super) fn note_own_order(&mut self, now: SystemTime) {
        note(&mut self.began, now);
    }

    /// Records that an order of the peer begins.
    pub(super) fn note_peer_order(&mut self, now: SystemTime) {
        note(&mut self.peer_began, now);
    }

    /// Returns when this host may begin another order within the hourly limits. `cut_off` says that
    /// this host has a peer that it cannot ask, so it may begin fewer.
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

    /// Limits all recorded times to `now`: times in the future, which are there after the clock was
    /// set back, would block orders.
    pub(super) fn clamp_to(&mut self, now: SystemTime) {
        let now = to_unix(now);
        for began in self.began.iter_mut().chain(&mut self.peer_began) {
            *began = (*began).min(now);
        }
    }

    /// Merges the order times of the peer's record. The peer is the authority for its own orders;
    /// what the peer knows of this host's orders is used only if this host has lost its record of
    /// them.
    pub(super) fn merge_orders(&mut self, theirs: &Self, now: SystemTime) {
        if !theirs.began.is_empty() {
            self.peer_began = newest(&theirs.began);
        }
        if self.began.is_empty() {
            self.began = newest(&theirs.peer_began);
        }
        self.clamp_to(now);
    }

    /// Merges the peer's failures to renew the certificate that both hosts have: of each value, the
    /// greater one of the two hosts counts.
    pub(super) fn merge_failures(&mut self, theirs: &Self) {
        self.unreachable = match theirs.failures.cmp(&self.failures) {
            std::cmp::Ordering::Less => self.unreachable,
            std::cmp::Ordering::Equal => self.unreachable && theirs.unreachable,
            std::cmp::Ordering::Greater => theirs.unreachable,
        };
        self.failures = self.failures.max(theirs.failures);
        self.retry_after = self.retry_after.max(theirs.retry_after);
    }

    /// Clears what the record says of the renewal of the old certificate, because a new one was
    /// installed.
    pub(super) fn begin_certificate(&mut self) {
        self.failures = 0;
        self.unreachable = false;
        self.retry_after = None;
        self.window = None;
    }
}

/// Returns when another order may begin, given when earlier orders began (seconds since 1970,
/// oldest first), if at most `most` orders may begin within an hour.
fn over(began: &[u64], most: usize) -> SystemTime {
    let counts = began.len().checked_sub(most).and_then(|at| began.get(at));
    counts.map_or(SystemTime::UNIX_EPOCH, |oldest| from_unix(*oldest) + HOUR)
}

fn note(began: &mut Vec<u64>, now: SystemTime) {
    began.push(to_unix(now));
    *began = newest(began);
}

/// Returns the latest of these times at which orders began: as many as the hourly limit of orders
/// must consider.
fn newest(began: &[u64]) -> Vec<u64> {
    let surplus = began.len().saturating_sub(MOST_ORDERS_AN_HOUR);
    began.get(surplus..).unwrap_or_default().to_vec()
}

pub(super) fn to_unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Converts seconds since 1970 to a time. Later times than the year 2169 become that year, so that
/// a damaged record cannot overflow the time.
pub(super) fn from_unix(seconds: u64) -> SystemTime {
    const LATEST: u64 = 200 * 365 * 24 * 3600;
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}
