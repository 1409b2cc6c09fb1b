//! The reconciler of the Elastic IP: decides which call of the EC2 API to make, and when.
//!
//! It is level-triggered: while the address is wanted, its owner is compared and corrected, whatever
//! changed it. At most one call is in flight. DescribeAddresses is eventually consistent, so an
//! association that succeeded is only a request: this host has the address once a description says so.

use std::time::Duration;

use crate::{Time, chance::Chance};

/// Interval between descriptions of a wanted address in normal operation.
const CALM: Duration = Duration::from_secs(5);
/// Interval between descriptions while the address is not wanted: they are for status only.
const IDLE: Duration = Duration::from_secs(15);
/// Interval between descriptions shortly after the peer fell silent: it may be taking the address.
const ALERT: Duration = Duration::from_millis(250);
/// Interval between descriptions for a host that has stepped back and waits for a free address.
const WAITING: Duration = Duration::from_secs(1);
/// Time after a successful association in which descriptions may be stale.
const SETTLE: Duration = Duration::from_secs(10);
/// Pause before the first description after an association; later pauses double.
const CONFIRM: Duration = Duration::from_millis(50);
/// Upper limit of the pause between descriptions while a confirmation is pending.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);
/// First pause after a failure; later pauses double.
const RETRY: Duration = Duration::from_millis(250);
/// Upper limit of the pause after failures.
const RETRY_LIMIT: Duration = Duration::from_secs(4);
/// Upper limit of the pause after failed descriptions of a wanted address.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// A call of the EC2 API.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// AssociateAddress: the address to this host.
    Associate,
    /// DescribeAddresses: the owner of the address.
    Describe,
}

/// The owner of the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This host.
    Us,
    /// Another host.
    Other,
    /// It is not associated.
    Nobody,
}

/// The result of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// AssociateAddress was accepted.
    Associated,
    /// DescribeAddresses was answered.
    Described(Owner),
    /// The call failed, or its result is unknown.
    Failed(Call, Failure),
}

/// How a call failed, as far as the next call depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Throttled (`RequestLimitExceeded`): the next call waits longer.
    Throttled,
    /// Any other failure.
    Other,
}

/// How often the owner of the address is polled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    /// Normal operation.
    Calm,
    /// The peer fell silent.
    Alert,
    /// This host stepped back and waits for a free address.
    Waiting,
}

/// What a result means for the pair state machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// The address is confirmed for this host, for the first time since it is wanted.
    Acquired,
    /// A description that changes nothing.
    Seen(Owner),
    /// This host had the address and has lost it. The pair decides whether to
    /// [`reclaim`](Reconciler::reclaim) it.
    Lost(Owner),
}

/// The reconciler of one host.
#[derive(Clone, Debug)]
pub struct Reconciler {
    chance: Chance,
    wanted: bool,
    watch: Watch,
    in_flight: Option<Call>,
    /// The description in flight was requested before the address was wanted: it may be stale, and
    /// decides nothing.
    overtaken: bool,
    /// The next call and when it is due; `None` while one is in flight.
    due: Option<(Time, Call)>,
    /// Failures in a row.
    failures: u32,
    /// Descriptions in a row that did not show the address at this host.
    looks: u32,
    /// Whether the address was confirmed for this host since this host has wanted it.
    acquired: bool,
    /// When the last association was accepted.
    associated: Option<Time>,
    /// The last description: when it arrived, and the owner that it showed.
    seen: Option<(Time, Owner)>,
    /// When a description last showed the address at this host.
    confirmed: Option<Time>,
    /// Number of accepted associations.
    moves: u32,
}

impl Reconciler {
    /// Returns a reconciler that describes the address at once and does not want it. The seed is for
    /// its jitter.
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

    /// Returns when the next call is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        // While a call is in flight, `due` is `None`: its result plans the next call.
        self.due
            .filter(|_| self.in_flight.is_none())
            .map(|(at, _)| at)
    }

    /// Returns the call that is due, and counts it as in flight.
    pub fn call(&mut self, now: Time) -> Option<Call> {
        let (at, call) = self.due?;
        if self.in_flight.is_some() || now < at {
            return None;
        }
        self.due = None;
        self.in_flight = Some(call);
        Some(call)
    }

    /// Sets whether this host wants the address.
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

    /// Continues with an address that another process of this host had until now. Describes the address
    /// before any association.
    pub fn resume(&mut self, now: Time) {
        self.wanted = true;
        self.acquired = true;
        self.confirmed = Some(now);
        self.seen = Some((now, Owner::Us));
        self.plan(now, Call::Describe);
    }

    /// Sets how often the owner is polled.
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

    /// Polls the owner immediately.
    pub fn look(&mut self, now: Time) {
        if self.acquired || !self.wanted {
            self.plan_by(now);
        }
    }

    /// Associates the address again.
    pub fn reclaim(&mut self, now: Time) {
        if self.wanted {
            self.acquired = false;
            self.associated = None;
            self.plan(now, Call::Associate);
        }
    }

    /// Handles the result of the call in flight.
    pub fn answer(&mut self, now: Time, answer: Answer) -> Option<News> {
        self.in_flight = None;
        if std::mem::take(&mut self.overtaken) {
            if let Answer::Described(owner) = answer {
                self.seen = Some((now, owner));
            }
            // Nothing is reported to the pair, as the association is still due.
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

    /// Whether the address is wanted and confirmed for this host.
    #[must_use]
    pub fn acquired(&self) -> bool {
        self.acquired
    }

    /// Returns the owner of the address in the API's last description, and the time of that description.
    #[must_use]
    pub fn seen(&self) -> Option<(Time, Owner)> {
        self.seen
    }

    /// Returns when the address was last confirmed for this host.
    #[must_use]
    pub fn confirmed(&self) -> Option<Time> {
        self.confirmed
    }

    /// Returns the number of accepted associations of this host.
    #[must_use]
    pub fn moves(&self) -> u32 {
        self.moves
    }

    /// Whether the last call failed.
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
                // The pair may reclaim the address; until then, poll again soon.
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

    /// Handles a description that shows the wanted address elsewhere: describes again if that may be
    /// stale, else associates.
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
        // A failed association may have been carried out; a second one does no harm.
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

    /// Sets the next call, unless one is in flight, whose result plans the next one.
    fn plan(&mut self, at: Time, call: Call) {
        self.due = Some((at, call));
    }

    /// Moves the next description to `at` if it is planned for later.
    fn plan_by(&mut self, at: Time) {
        match &mut self.due {
            Some((due, Call::Describe)) => *due = (*due).min(at),
            Some((_, Call::Associate)) => {}
            None if self.in_flight.is_some() => {}
            None => self.due = Some((at, Call::Describe)),
        }
    }
}

/// Returns `first`, doubled `times` times, at most `limit`.
fn stepped(first: Duration, times: u32, limit: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(limit)
}

#[cfg(test)]
mod tests;
