//! The reconciler of the Elastic IP: decides which call to the EC2 API to make, and when.
//!
//! It is level-triggered: while the Elastic IP is wanted, its owner is compared and corrected,
//! whatever changed it. At most one call is in flight. DescribeAddresses is eventually consistent,
//! so an association that succeeded is only a request: this host has the Elastic IP once
//! DescribeAddresses says so.

use std::time::Duration;

use crate::{Time, chance::Chance};

/// Interval between calls to DescribeAddresses in normal operation, while this host wants the
/// Elastic IP.
const CALM: Duration = Duration::from_secs(5);
/// Interval between calls to DescribeAddresses while this host does not want the Elastic IP: they
/// are for status only.
const IDLE: Duration = Duration::from_secs(15);
/// Interval between calls to DescribeAddresses shortly after the peer fell silent: the peer may be
/// taking the Elastic IP.
const ALERT: Duration = Duration::from_millis(250);
/// Interval between calls to DescribeAddresses by a host that has stepped back and waits until no
/// host has the Elastic IP.
const WAITING: Duration = Duration::from_secs(1);
/// Time after an accepted association of the Elastic IP in which answers of DescribeAddresses may
/// be stale.
const SETTLE: Duration = Duration::from_secs(10);
/// Pause between an accepted association of the Elastic IP and the first call to DescribeAddresses;
/// later pauses double.
const CONFIRM: Duration = Duration::from_millis(50);
/// Upper limit of the pause between calls to DescribeAddresses until one confirms an association of
/// the Elastic IP.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);
/// First pause after a failed call to the EC2 API; later pauses double.
const RETRY: Duration = Duration::from_millis(250);
/// Upper limit of the pause after failed calls to the EC2 API.
const RETRY_LIMIT: Duration = Duration::from_secs(4);
/// Upper limit of the pause after a failed call to DescribeAddresses while this host wants the
/// Elastic IP.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// A call to the EC2 API about the Elastic IP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// AssociateAddress: associates the Elastic IP with this host.
    Associate,
    /// DescribeAddresses: returns the owner of the Elastic IP.
    Describe,
}

/// The host with which the EC2 API says the Elastic IP is associated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This host has the Elastic IP.
    Us,
    /// Another host has the Elastic IP.
    Other,
    /// The Elastic IP is not associated with any host.
    Nobody,
}

/// The result of a call to the EC2 API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// AssociateAddress was accepted.
    Associated,
    /// DescribeAddresses returned this owner of the Elastic IP.
    Described(Owner),
    /// The call to the EC2 API failed, or its result is unknown.
    Failed(Call, Failure),
}

/// How a call to the EC2 API failed, as far as the next call depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The call was throttled (`RequestLimitExceeded`): the next call waits longer.
    Throttled,
    /// The call to the EC2 API failed for any other reason.
    Other,
}

/// How often the EC2 API is asked for the owner of the Elastic IP, by the situation of this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    /// Normal operation: the EC2 API is asked about every 5 s.
    Calm,
    /// The peer fell silent: the EC2 API is asked about every 250 ms.
    Alert,
    /// This host stepped back and waits until no host has the Elastic IP: the EC2 API is asked
    /// about every second.
    Waiting,
}

/// What the result of a call to the EC2 API means for the pair state machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// The Elastic IP is confirmed for this host, for the first time since this host has wanted it.
    Acquired,
    /// An answer of DescribeAddresses showed this owner of the Elastic IP, which changes nothing.
    Seen(Owner),
    /// This host had the Elastic IP, and DescribeAddresses shows that this owner has it now. The
    /// pair state machine decides whether to [`reclaim`](Reconciler::reclaim) the Elastic IP.
    Lost(Owner),
}

/// The reconciler of one host, which decides on the calls to the EC2 API for the Elastic IP.
#[derive(Clone, Debug)]
pub struct Reconciler {
    chance: Chance,
    wanted: bool,
    watch: Watch,
    in_flight: Option<Call>,
    /// Whether the call to DescribeAddresses in flight was made before this host wanted the Elastic
    /// IP: its answer may be stale, and decides nothing.
    overtaken: bool,
    /// The next call to the EC2 API and when it is due; `None` while a call is in flight.
    due: Option<(Time, Call)>,
    /// Number of failed calls to the EC2 API in a row.
    failures: u32,
    /// Number of answers of DescribeAddresses in a row that did not show the Elastic IP at this
    /// host.
    looks: u32,
    /// Whether the Elastic IP has been confirmed for this host, by DescribeAddresses, since this
    /// host has wanted it.
    acquired: bool,
    /// When the last association of the Elastic IP was accepted; `None` if none was since this host
    /// began to want the Elastic IP, or if the association is to be made again.
    associated: Option<Time>,
    /// When the last answer of DescribeAddresses arrived, and the owner of the Elastic IP in it;
    /// `None` before the first answer.
    seen: Option<(Time, Owner)>,
    /// When DescribeAddresses last showed the Elastic IP at this host; `None` if it never did.
    confirmed: Option<Time>,
    /// Number of accepted associations of the Elastic IP with this host.
    moves: u32,
}

impl Reconciler {
    /// Returns a reconciler of a host that does not want the Elastic IP yet; its first call,
    /// DescribeAddresses, is due immediately. The seed is for the jitter of its pauses.
    #[must_use]
    pub fn new(now: Time, seed: u64) -> Self {
        Self {
            chance: Chance::seeded(seed),
            wanted: false,
            watch: Watch::Calm,
            in_flight: None,
            overtaken: false,
            due: Some((now, Call::Describe)),
            failures: 0,
            looks: 0,
            acquired: false,
            associated: None,
            seen: None,
            confirmed: None,
            moves: 0,
        }
    }

    /// Returns when the next call to the EC2 API is due; `None` while a call is in flight.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        // While a call to the EC2 API is in flight, `due` is `None`: its result plans the next
        // call.
        self.due
            .filter(|_| self.in_flight.is_none())
            .map(|(at, _)| at)
    }

    /// Returns the call to the EC2 API to make, and counts it as in flight; `None` if no call is
    /// due.
    pub fn call(&mut self, now: Time) -> Option<Call> {
        let (at, call) = self.due?;
        if self.in_flight.is_some() || now < at {
            return None;
        }
        self.due = None;
        self.in_flight = Some(call);
        Some(call)
    }

    /// Sets whether this host wants to have the Elastic IP.
    pub fn want(&mut self, now: Time, wanted: bool) {
        if self.wanted == wanted {
            return;
        }
        self.wanted = wanted;
        self.acquired = false;
        self.failures = 0;
        self.looks = 0;
        self.associated = None;
        self.overtaken = wanted && self.in_flight == Some(Call::Describe);
        if wanted {
            self.plan(now, Call::Associate);
        } else {
            let pause = self.pause();
            self.plan(now + pause, Call::Describe);
        }
    }

    /// Continues with an Elastic IP that another process of this host had until now.
    /// DescribeAddresses is called before any association.
    pub fn resume(&mut self, now: Time) {
        self.wanted = true;
        self.acquired = true;
        self.confirmed = Some(now);
        self.seen = Some((now, Owner::Us));
        self.plan(now, Call::Describe);
    }

    /// Sets how often the EC2 API is asked for the owner of the Elastic IP.
    pub fn watch(&mut self, now: Time, watch: Watch) {
        if self.watch == watch {
            return;
        }
        self.watch = watch;
        if self.acquired || !self.wanted {
            let pause = self.pause();
            self.plan_by(now + pause);
        }
    }

    /// Asks the EC2 API for the owner of the Elastic IP immediately.
    pub fn look(&mut self, now: Time) {
        if self.acquired || !self.wanted {
            self.plan_by(now);
        }
    }

    /// Associates the Elastic IP with this host again, if this host still wants it.
    pub fn reclaim(&mut self, now: Time) {
        if self.wanted {
            self.acquired = false;
            self.associated = None;
            self.plan(now, Call::Associate);
        }
    }

    /// Handles the result of the EC2 API call in flight. Returns what it means for the pair state
    /// machine; `None` if nothing.
    pub fn answer(&mut self, now: Time, answer: Answer) -> Option<News> {
        self.in_flight = None;
        if std::mem::take(&mut self.overtaken) {
            if let Answer::Described(owner) = answer {
                self.seen = Some((now, owner));
            }
            // The call to DescribeAddresses was made before this host wanted the Elastic IP, so its
            // answer decides nothing and the pair state machine gets no news of it: the association
            // is still due.
            return None;
        }
        match answer {
            Answer::Associated => {
                self.associated(now);
                None
            }
            Answer::Described(owner) => {
                self.seen = Some((now, owner));
                self.failures = 0;
                self.described(now, owner)
            }
            Answer::Failed(call, failure) => {
                self.failed(now, call, failure);
                None
            }
        }
    }

    /// Whether this host wants the Elastic IP and DescribeAddresses has shown it here.
    #[must_use]
    pub fn acquired(&self) -> bool {
        self.acquired
    }

    /// Returns the owner of the Elastic IP in the last answer of DescribeAddresses, and the time of
    /// that answer.
    #[must_use]
    pub fn seen(&self) -> Option<(Time, Owner)> {
        self.seen
    }

    /// Returns when DescribeAddresses last showed the Elastic IP at this host; `None` if it never
    /// did.
    #[must_use]
    pub fn confirmed(&self) -> Option<Time> {
        self.confirmed
    }

    /// Returns the number of associations of the Elastic IP with this host that the EC2 API has
    /// accepted.
    #[must_use]
    pub fn moves(&self) -> u32 {
        self.moves
    }

    /// Whether the last call to the EC2 API failed.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.failures > 0
    }

    fn associated(&mut self, now: Time) {
        self.moves = self.moves.wrapping_add(1);
        self.failures = 0;
        self.looks = 0;
        self.associated = Some(now);
        self.plan(now, Call::Describe);
    }

    fn described(&mut self, now: Time, owner: Owner) -> Option<News> {
        if owner == Owner::Us {
            self.confirmed = Some(now);
            self.looks = 0;
        }
        if !self.wanted {
            self.rest(now);
            return Some(News::Seen(owner));
        }
        match (self.acquired, owner) {
            (false, Owner::Us) => {
                self.acquired = true;
                self.rest(now);
                Some(News::Acquired)
            }
            (true, Owner::Us) => {
                self.rest(now);
                Some(News::Seen(owner))
            }
            (true, Owner::Other | Owner::Nobody) => {
                // The pair state machine may reclaim the Elastic IP; until then, call
                // DescribeAddresses again soon.
                let pause = self.chance.around(ALERT);
                self.plan(now + pause, Call::Describe);
                Some(News::Lost(owner))
            }
            (false, Owner::Other | Owner::Nobody) => {
                self.look_again_or_associate(now);
                None
            }
        }
    }

    /// Handles an answer of DescribeAddresses that shows the wanted Elastic IP at another host or
    /// at none: asks again if the answer may be stale, else associates the Elastic IP.
    fn look_again_or_associate(&mut self, now: Time) {
        let settling = self
            .associated
            .is_some_and(|associated| now < associated + SETTLE);
        if settling {
            let pause = stepped(CONFIRM, self.looks, CONFIRM_LIMIT);
            self.looks += 1;
            let pause = self.chance.upper_half(pause);
            self.plan(now + pause, Call::Describe);
        } else {
            self.associated = None;
            self.plan(now, Call::Associate);
        }
    }

    fn failed(&mut self, now: Time, call: Call, failure: Failure) {
        let (first, limit) = match (failure, call) {
            (Failure::Throttled, _) => (RETRY * 2, RETRY_LIMIT),
            (Failure::Other, Call::Describe) if self.wanted => (RETRY, LOOK_LIMIT),
            (Failure::Other, _) => (RETRY, RETRY_LIMIT),
        };
        let pause = stepped(first, self.failures, limit);
        self.failures = self.failures.saturating_add(1);
        let pause = self.chance.upper_half(pause);
        // A failed association may have been carried out; associating the Elastic IP again does no
        // harm.
        let next = match call {
            Call::Associate if self.wanted => Call::Associate,
            _ if self.wanted && !self.acquired && self.associated.is_none() => Call::Associate,
            _ => Call::Describe,
        };
        self.plan(now + pause, next);
    }

    fn rest(&mut self, now: Time) {
        let pause = self.pause();
        self.plan(now + pause, Call::Describe);
    }

    fn pause(&mut self) -> Duration {
        let pause = match (self.watch, self.wanted) {
            (Watch::Alert, _) => ALERT,
            (Watch::Waiting, _) => WAITING,
            (Watch::Calm, true) => CALM,
            (Watch::Calm, false) => IDLE,
        };
        self.chance.around(pause)
    }

    /// Sets the next call to the EC2 API and when it is due, unless a call is in flight: its result
    /// plans the next call.
    fn plan(&mut self, at: Time, call: Call) {
        self.due = Some((at, call));
    }

    /// Moves the next call to DescribeAddresses forward to `at` if it is planned for a later time.
    fn plan_by(&mut self, at: Time) {
        match &mut self.due {
            Some((due, Call::Describe)) => *due = (*due).min(at),
            Some((_, Call::Associate)) => {}
            None if self.in_flight.is_some() => {}
            None => self.due = Some((at, Call::Describe)),
        }
    }
}

/// Returns `first`, doubled as many times as `times` says, but at most `limit`.
fn stepped(first: Duration, times: u32, limit: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(limit)
}

#[cfg(test)]
mod tests;
