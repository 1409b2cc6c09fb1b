//! The life of one certificate: when to order it, and when to order it again.
//!
//! A pure state machine: it has no clock and does no I/O. The caller says what happened and at
//! what time, and asks [`Renewal::step`] what is due.

use std::time::{Duration, SystemTime};

use super::{
    order_lock::{HostRole, OrderLock, OrderPermit},
    record::{HOUR, OrderRecord, Suggestion, Validity, Window, from_unix, to_unix},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The wait after a first failure. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How often the directory is asked for its renewal window, where it does not say (RFC 9773 §4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// The bounds of what it says (RFC 9773 §4.3.2): it can neither cause a flood nor a long silence.
const ASK_BOUNDS: [Duration; 2] = [Duration::from_secs(60), DAY];
/// The part of its lifetime by which a renewal may come early, so that hosts and names spread: a
/// thirtieth.
const SPREAD: u32 = 30;

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Order a certificate: call [`Renewal::began`] before, and [`Renewal::ended`] behind.
    Order,
    /// Ask the peer for the turn: [`OrderLock::claimed`], and [`OrderLock::answered`] when it has said.
    Claim,
    /// Ask the directory for the renewal window: [`Renewal::asked_for_window`] takes the answer.
    AskForWindow,
    /// Nothing before this moment.
    Wait(SystemTime),
}

/// How an order ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderOutcome {
    /// There is a new certificate.
    Issued(Validity),
    /// The directory was not reached, or did not work. No authorization failed.
    Unreachable {
        /// When the directory wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// The directory refused, or could not validate a name.
    Refused {
        /// When the directory wants to be asked again.
        retry_after: Option<SystemTime>,
    },
}

/// The life of one certificate.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// 0 to [`u64::MAX`] stands for 0 to 1: the same for a host and a name at every start.
    seed: u64,
    certificate: Option<Validity>,
    record: OrderRecord,
    order_lock: OrderLock,
    /// When to ask for the window next; `None`: at once.
    ask_at: Option<SystemTime>,
    /// An operator wants a new certificate now.
    wanted: bool,
}

impl Renewal {
    /// The life of a certificate that is there, or is not. `seed` differs between hosts and names.
    #[must_use]
    pub fn new(seed: u64, certificate: Option<Validity>, record: OrderRecord) -> Self {
        Self {
            seed,
            certificate,
            record,
            order_lock: OrderLock::new(HostRole::Alone, SystemTime::UNIX_EPOCH),
            ask_at: None,
            wanted: false,
        }
    }

    /// The same on a host of a pair, which starts.
    #[must_use]
    pub fn in_pair(self, role: HostRole, now: SystemTime) -> Self {
        Self {
            order_lock: OrderLock::new(role, now),
            ..self
        }
    }

    /// What is known of whose turn it is.
    pub fn order_lock(&mut self) -> &mut OrderLock {
        &mut self.order_lock
    }

    /// From when to when the certificate is valid; `None`: there is none.
    #[must_use]
    pub fn certificate(&self) -> Option<Validity> {
        self.certificate
    }

    /// What is to be kept on disk.
    #[must_use]
    pub fn record(&self) -> &OrderRecord {
        &self.record
    }

    /// What is due at `now`.
    pub fn step(&mut self, now: SystemTime) -> Step {
        self.forget_future_times(now);
        let mut order_at = self.order_at(now);
        if order_at > now {
            self.order_lock.release();
        } else {
            match self.order_lock.permit(now) {
                OrderPermit::Claim => return Step::Claim,
                OrderPermit::Wait(until) => order_at = until,
                // A peer that has fallen silent leaves this host fewer orders.
                OrderPermit::Begin => order_at = self.order_at(now),
            }
            if order_at <= now {
                return Step::Order;
            }
        }
        if self.order_lock.role() == HostRole::Standby {
            // What is due there is the active host's to do.
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

    /// When the next order begins, if nothing changes.
    #[must_use]
    pub fn order_at(&self, now: SystemTime) -> SystemTime {
        let due = if self.wanted {
            now
        } else {
            self.renew_at()
                .max(self.backed_off_until(now))
                .max(from_unix(self.record.retry_after.unwrap_or(0)))
        };
        due.max(self.next_allowed())
    }

    /// An order begins.
    pub fn began(&mut self, now: SystemTime) {
        self.wanted = false;
        self.record.note_own_order(now);
        self.order_lock.began(now);
    }

    /// The order ended. The certificate that is there stays unless there is a new one.
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

    /// The directory was asked for its renewal window. `None`: it offers none, or did not answer,
    /// and what it said before holds. `again`: how long the answer is good for.
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

    /// An operator wants a new certificate now. The limit of an hour holds all the same.
    ///
    /// # Errors
    /// The limit is reached: when it is over.
    pub fn want_now(&mut self, now: SystemTime) -> Result<(), SystemTime> {
        self.forget_future_times(now);
        let over = self.next_allowed();
        if over > now {
            return Err(over);
        }
        self.wanted = true;
        Ok(())
    }

    /// The operator does not want one any more.
    pub fn want_none(&mut self) {
        self.wanted = false;
    }

    /// A new certificate is in place, from this host's order or from the peer.
    pub fn certificate_installed(&mut self, certificate: Validity) {
        self.certificate = Some(certificate);
        self.ask_at = None;
        self.record.begin_certificate();
    }

    /// The peer claims the turn: [`OrderLock::peer_claims`].
    ///
    /// # Errors
    /// It is this host's: how long that may last.
    pub fn peer_claims(&mut self, number: u64, now: SystemTime) -> Result<(), Duration> {
        self.order_lock.peer_claims(number, now)?;
        // It counts before it begins, as an own one does.
        self.record.note_peer_order(now);
        Ok(())
    }

    /// The peer tells of its record. `same`: it has the very certificate that this host has, or none
    /// as this one.
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

    /// When the certificate is to be renewed, whatever failed since; the beginning of 1970 where there
    /// is none.
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
        // A window that ends with the certificate or after it leaves no time for a failure.
        let latest = not_after - lifetime / 10;
        (start + self.part_of(length)).min(latest)
    }

    /// The end of the wait after failures: 15 minutes, doubling to a day, or to an hour where the
    /// directory itself did not work. Near the end of a certificate that is still valid it is an
    /// eighth of what is left, so that it is renewed in time once the cause is gone.
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

    /// When another order may begin within the limit of an hour.
    fn next_allowed(&self) -> SystemTime {
        self.record.next_allowed(self.order_lock.is_cut_off())
    }

    /// A clock that was set back leaves moments that would have to be waited for.
    fn forget_future_times(&mut self, now: SystemTime) {
        self.record.clamp_to(now);
        if self.ask_at.is_some_and(|ask_at| ask_at > now + DAY) {
            self.ask_at = None;
        }
    }

    /// This host's and name's part of a length of time.
    fn part_of(&self, length: Duration) -> Duration {
        // The upper 32 bits: a fraction of 2^32, in which the multiplication cannot overflow.
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
