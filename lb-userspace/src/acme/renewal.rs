//! The life of one certificate: when to order it, and when to order it again.
//!
//! A pure state machine: it has no clock and does no I/O. The caller says what happened and at
//! what time, and asks [`Renewal::step`] what is due.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Orders that may begin within any hour. Let's Encrypt refuses after five failed authorizations
/// for an account and a name in an hour; one is left for other clients of the account.
pub const MOST_ORDERS_AN_HOUR: usize = 4;

const HOUR: Duration = Duration::from_secs(3600);
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

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Order a certificate: call [`Renewal::began`] before, and [`Renewal::ended`] behind.
    Order,
    /// Ask the directory for the renewal window: [`Renewal::asked_for_window`] takes the answer.
    AskForWindow,
    /// Nothing before this moment.
    Wait(SystemTime),
}

/// How an order ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
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

/// What must outlive a restart, so that an agent that restarts often orders no more often.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// Failures since the last certificate.
    pub failures: u32,
    /// Whether the last failure was that of the directory itself.
    pub unreachable: bool,
    /// When the last orders began, in seconds since 1970, the oldest first; at most
    /// [`MOST_ORDERS_AN_HOUR`].
    pub began: Vec<u64>,
    /// The directory wants no order before this second since 1970.
    pub retry_after: Option<u64>,
}

/// The life of one certificate.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// 0 to [`u64::MAX`] stands for 0 to 1: the same for a host and a name at every start.
    seed: u64,
    certificate: Option<Validity>,
    record: Record,
    window: Option<Window>,
    /// When to ask for the window next; `None`: at once.
    ask_at: Option<SystemTime>,
    /// An operator wants a new certificate now.
    wanted: bool,
}

impl Renewal {
    /// The life of a certificate that is there, or is not. `seed` differs between hosts and names.
    #[must_use]
    pub fn new(seed: u64, certificate: Option<Validity>, record: Record) -> Self {
        Self {
            seed,
            certificate,
            record,
            window: None,
            ask_at: None,
            wanted: false,
        }
    }

    /// What is to be kept on disk.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What is due at `now`.
    pub fn step(&mut self, now: SystemTime) -> Step {
        self.forget_the_future(now);
        let order_at = self.order_at(now);
        if order_at <= now {
            return Step::Order;
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
        due.max(self.hour_is_over())
    }

    /// An order begins.
    pub fn began(&mut self, now: SystemTime) {
        self.wanted = false;
        let began = &mut self.record.began;
        began.push(to_unix(now));
        let surplus = began.len().saturating_sub(MOST_ORDERS_AN_HOUR);
        began.drain(..surplus);
    }

    /// The order ended. The certificate that is there stays unless there is a new one.
    pub fn ended(&mut self, outcome: Outcome) {
        let (unreachable, retry_after) = match outcome {
            Outcome::Issued(validity) => {
                self.certificate = Some(validity);
                self.window = None;
                self.ask_at = None;
                self.record.failures = 0;
                self.record.unreachable = false;
                self.record.retry_after = None;
                return;
            }
            Outcome::Unreachable { retry_after } => (true, retry_after),
            Outcome::Refused { retry_after } => (false, retry_after),
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
        if let Some(window) = window.filter(|window| window.start <= window.end) {
            self.window = Some(window);
        }
        let [least, most] = ASK_BOUNDS;
        self.ask_at = Some(now + again.unwrap_or(ASK_AGAIN).clamp(least, most));
    }

    /// An operator wants a new certificate now. The limit of an hour holds all the same.
    ///
    /// # Errors
    /// The limit is reached: when it is over.
    pub fn want_now(&mut self, now: SystemTime) -> Result<(), SystemTime> {
        self.forget_the_future(now);
        let over = self.hour_is_over();
        if over > now {
            return Err(over);
        }
        self.wanted = true;
        Ok(())
    }

    /// When the certificate is to be renewed; the beginning of time where there is none.
    fn renew_at(&self) -> SystemTime {
        let Some(Validity {
            not_before,
            not_after,
        }) = self.certificate
        else {
            return SystemTime::UNIX_EPOCH;
        };
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let by_age = not_before + lifetime * 2 / 3 - self.part_of(lifetime / SPREAD);
        let Some(window) = self.window else {
            return by_age;
        };
        let length = window.end.duration_since(window.start).unwrap_or_default();
        // A window that ends with the certificate or after it leaves no time for a failure.
        let latest = not_after - lifetime / 10;
        (window.start + self.part_of(length)).min(latest)
    }

    /// The end of the wait after failures: 15 minutes, doubling to a day, or to an hour where the
    /// directory itself did not work. Near the end of a certificate that is still valid it is an
    /// eighth of what is left, so that it is renewed in time once the cause is gone.
    fn backed_off_until(&self, now: SystemTime) -> SystemTime {
        let (Some(last), 1..) = (self.record.began.last(), self.record.failures) else {
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
        from_unix(*last) + wait + self.part_of(wait / 10)
    }

    /// When another order may begin within the limit of an hour.
    fn hour_is_over(&self) -> SystemTime {
        match self.record.began.as_slice() {
            began @ [oldest, ..] if began.len() >= MOST_ORDERS_AN_HOUR => from_unix(*oldest) + HOUR,
            _ => SystemTime::UNIX_EPOCH,
        }
    }

    /// A clock that was set back leaves moments that would have to be waited for.
    fn forget_the_future(&mut self, now: SystemTime) {
        let seconds = to_unix(now);
        for began in &mut self.record.began {
            *began = (*began).min(seconds);
        }
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

fn to_unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Bounded, so that a damaged record cannot overflow the time: the year 2169 at the latest.
fn from_unix(seconds: u64) -> SystemTime {
    const LATEST: u64 = 200 * 365 * 24 * 3600;
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
