//! Decides when to order one certificate, and when to renew it.
//!
//! A pure state machine without clock and I/O: the caller reports events with their time, and asks
//! [`Renewal::step`] what is due.

use std::time::{Duration, SystemTime};

use super::{
    order_lock::{HostRole, OrderLock, OrderPermit},
    record::{HOUR, OrderRecord, Suggestion, Validity, Window, from_unix, to_unix},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long no order begins after the first failed order; the time doubles with each further
/// failure.
const FIRST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How often the directory is asked for its renewal window if it names no interval (RFC 9773
/// §4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// The shortest and the longest interval at which the directory is asked for its renewal window,
/// whatever interval it names (RFC 9773 §4.3.2): it is neither flooded with requests nor left
/// unasked for long.
const ASK_BOUNDS: [Duration; 2] = [Duration::from_secs(60), DAY];
/// A renewal may be early by up to the certificate's lifetime divided by this number, so that hosts
/// and certificates do not renew at the same time.
const SPREAD: u32 = 30;

/// The next thing that the task of a certificate must do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Order a certificate: call [`Renewal::began`] before the order, and [`Renewal::ended`] after
    /// it.
    Order,
    /// Claim the order lock from the peer: call [`OrderLock::claimed`] now, and
    /// [`OrderLock::answered`] when the peer replies.
    Claim,
    /// Ask the directory for its renewal window, and pass the answer to
    /// [`Renewal::asked_for_window`].
    AskForWindow,
    /// Wait: nothing is due before this time.
    Wait(SystemTime),
}

/// How an order of a certificate ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderOutcome {
    /// The directory issued a certificate with this validity.
    Issued(Validity),
    /// The directory was unreachable or failed itself, without refusing an authorization.
    Unreachable {
        /// The time before which the directory accepts no order; `None` if it named none.
        retry_after: Option<SystemTime>,
    },
    /// The directory refused the order or could not validate a name.
    Refused {
        /// The time before which the directory accepts no order; `None` if it named none.
        retry_after: Option<SystemTime>,
    },
}

/// The renewal state of one certificate.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// A number that spreads renewals, read as a fraction of 2^64. It depends on the names of host
    /// and service, and is the same at every start.
    seed: u64,
    certificate: Option<Validity>,
    record: OrderRecord,
    order_lock: OrderLock,
    /// When to ask the directory for its renewal window next; `None` to ask immediately.
    ask_at: Option<SystemTime>,
    /// Whether an operator has requested a new certificate.
    requested: bool,
}

impl Renewal {
    /// Creates the renewal state of a certificate, whether it exists already or not. `seed` should
    /// differ between hosts and services.
    #[must_use]
    pub fn new(seed: u64, certificate: Option<Validity>, record: OrderRecord) -> Self {
        Self {
            seed,
            certificate,
            record,
            order_lock: OrderLock::new(HostRole::Alone, SystemTime::UNIX_EPOCH),
            ask_at: None,
            requested: false,
        }
    }

    /// Makes this the state of a host with a peer, whose agent has just started in this role.
    #[must_use]
    pub fn in_pair(self, role: HostRole, now: SystemTime) -> Self {
        Self {
            order_lock: OrderLock::new(role, now),
            ..self
        }
    }

    /// Returns the lock that decides whether this host may order.
    pub fn order_lock(&mut self) -> &mut OrderLock {
        &mut self.order_lock
    }

    /// Returns the validity of the present certificate; `None` if there is no certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<Validity> {
        self.certificate
    }

    /// Returns the order record, which the caller keeps on disk.
    #[must_use]
    pub fn record(&self) -> &OrderRecord {
        &self.record
    }

    /// Returns what the task of the certificate must do at `now`.
    pub fn step(&mut self, now: SystemTime) -> Step {
        self.forget_future_times(now);
        let mut order_at = self.order_at(now);
        if order_at > now {
            self.order_lock.release();
        } else {
            match self.order_lock.permit(now) {
                OrderPermit::Claim => return Step::Claim,
                OrderPermit::Wait(until) => order_at = until,
                // The time of the order is computed again, because `permit` may have found that the
                // peer is silent: then the lower hourly limit for a host that cannot ask its peer
                // applies.
                OrderPermit::Begin => order_at = self.order_at(now),
            }
            if order_at <= now {
                return Step::Order;
            }
        }
        if self.order_lock.role() == HostRole::Standby {
            // On a pair, the active host orders and asks the directory; the standby only waits.
            return Step::Wait(now + DAY);
        }
        if self.certificate.is_none() {
            return Step::Wait(order_at);
        }
        match self.ask_at {
            Some(ask_at) if ask_at > now => Step::Wait(order_at.min(ask_at)),
            _ => Step::AskForWindow,
        }
    }

    /// Returns when the next order begins if nothing changes.
    #[must_use]
    pub fn order_at(&self, now: SystemTime) -> SystemTime {
        let due = if self.requested {
            now
        } else {
            self.renew_at()
                .max(self.backed_off_until(now))
                .max(from_unix(self.record.retry_after.unwrap_or(0)))
        };
        due.max(self.next_allowed())
    }

    /// Records that an order of this host begins.
    pub fn began(&mut self, now: SystemTime) {
        self.requested = false;
        self.record.note_own_order(now);
        self.order_lock.began(now);
    }

    /// Records how an order of this host ended. If no certificate was issued, the old one stays in
    /// use.
    pub fn ended(&mut self, outcome: OrderOutcome) {
        self.order_lock.ended();
        let (unreachable, retry_after) = match outcome {
            OrderOutcome::Issued(validity) => {
                self.certificate_installed(validity);
                return;
            }
            OrderOutcome::Unreachable { retry_after } => (true, retry_after),
            OrderOutcome::Refused { retry_after } => (false, retry_after),
        };
        self.record.failures = self.record.failures.saturating_add(1);
        self.record.unreachable = unreachable;
        self.record.retry_after = retry_after.map(to_unix);
    }

    /// Records what the directory answered about its renewal window. `window` is `None` if the
    /// directory offers none or did not answer; the previous window then stays. `again` is after
    /// how long to ask again, or `None` if the directory named no interval: six hours then apply.
    pub fn asked_for_window(
        &mut self,
        now: SystemTime,
        window: Option<Window>,
        again: Option<Duration>,
    ) {
        if let (Some(window), Some(certificate)) = (window, self.certificate)
            && window.start <= window.end
        {
            self.record.window = Some(Suggestion {
                certificate: to_unix(certificate.not_before),
                start: to_unix(window.start),
                end: to_unix(window.end),
            });
        }
        let [least, most] = ASK_BOUNDS;
        self.ask_at = Some(now + again.unwrap_or(ASK_AGAIN).clamp(least, most));
    }

    /// Records that an operator requests a new certificate now. The hourly limit of orders applies
    /// to the request, too.
    ///
    /// # Errors
    /// The hourly limit is reached. The error is the time at which the next order may begin.
    pub fn request_now(&mut self, now: SystemTime) -> Result<(), SystemTime> {
        self.forget_future_times(now);
        let over = self.next_allowed();
        if over > now {
            return Err(over);
        }
        self.requested = true;
        Ok(())
    }

    /// Withdraws an operator's request for a new certificate.
    pub fn withdraw_request(&mut self) {
        self.requested = false;
    }

    /// Records that a new certificate was installed, from this host's order or from the peer.
    pub fn certificate_installed(&mut self, certificate: Validity) {
        self.certificate = Some(certificate);
        self.ask_at = None;
        self.record.begin_certificate();
    }

    /// Handles the peer's claim of the order lock: see [`OrderLock::peer_claims`].
    ///
    /// # Errors
    /// This host holds the lock. The error is the longest time that it may still hold it.
    pub fn peer_claims(&mut self, number: u64, now: SystemTime) -> Result<(), Duration> {
        self.order_lock.peer_claims(number, now)?;
        // The peer's order is counted before it begins, as this host's orders are.
        self.record.note_peer_order(now);
        Ok(())
    }

    /// Merges the peer's record into this host's. `same` says that both hosts have the same
    /// certificate, or that neither has one.
    pub fn merge_peer_record(&mut self, theirs: &OrderRecord, same: bool, now: SystemTime) {
        self.record.merge_orders(theirs, now);
        if !same {
            return;
        }
        self.record.merge_failures(theirs);
        if self.order_lock.role() == HostRole::Standby && theirs.window.is_some() {
            self.record.window = theirs.window;
            self.ask_at = Some(now + ASK_AGAIN);
        }
    }

    /// Returns when the certificate is due for renewal, regardless of failed orders; the beginning
    /// of 1970 if there is no certificate.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let Some(Validity {
            not_before,
            not_after,
        }) = self.certificate
        else {
            return SystemTime::UNIX_EPOCH;
        };
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let by_age = not_before + lifetime * 2 / 3 - self.part_of(lifetime / SPREAD);
        let window = self
            .record
            .window
            .filter(|window| window.certificate == to_unix(not_before))
            .map(|window| [window.start, window.end].map(from_unix));
        let Some([start, end]) = window else {
            return by_age;
        };
        let length = end.duration_since(start).unwrap_or_default();
        // A suggested window that ends when the certificate expires, or later, would leave no time
        // for another order after a failure.
        let latest = not_after - lifetime / 10;
        (start + self.part_of(length)).min(latest)
    }

    /// Returns until when no order begins because of failures. The time after the last order is 15
    /// minutes, doubled by each further failure up to a day, or up to an hour if the directory
    /// itself failed. Near the end of a valid certificate it is at most an eighth of the remaining
    /// time, but at least an hour, so that the certificate is renewed in time once the cause is
    /// fixed.
    fn backed_off_until(&self, now: SystemTime) -> SystemTime {
        let (Some(last), 1..) = (self.record.last(), self.record.failures) else {
            return SystemTime::UNIX_EPOCH;
        };
        let doublings = (self.record.failures - 1).min(16);
        let mut most = if self.record.unreachable { HOUR } else { DAY };
        let not_after = self.certificate.map(|certificate| certificate.not_after);
        let left = not_after.and_then(|end| end.duration_since(now).ok());
        if let Some(left) = left {
            most = most.min((left / 8).max(HOUR));
        }
        let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(most);
        from_unix(last) + wait + self.part_of(wait / 10)
    }

    /// Returns when the hourly limit of orders allows this host to begin another order.
    fn next_allowed(&self) -> SystemTime {
        self.record.next_allowed(self.order_lock.is_cut_off())
    }

    /// Clears recorded times of orders and requests that are too far in the future because the
    /// clock was set back.
    fn forget_future_times(&mut self, now: SystemTime) {
        self.record.clamp_to(now);
        if self.ask_at.is_some_and(|ask_at| ask_at > now + DAY) {
            self.ask_at = None;
        }
    }

    /// Returns a part of a duration: the fraction of it that the seed is of 2^64. The seed depends
    /// on the names of host and service.
    fn part_of(&self, length: Duration) -> Duration {
        // Only the upper 32 bits of the seed are used, as a fraction of 2^32, so that the
        // multiplication cannot overflow.
        let fraction = self.seed >> 32;
        let nanoseconds = (length.as_nanos() * u128::from(fraction)) >> 32;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;

#[cfg(test)]
mod pair_tests;
