//! The keeper of the Elastic IP: which call of the EC2 API to make, and when.
//!
//! Level-triggered: as long as the address is wanted it is looked after, whatever took it away. At
//! most one call is under way. A call that succeeded is a request (DescribeAddresses is eventually
//! consistent): the address is ours when a description says so.

use std::time::Duration;

use crate::{Time, chance::Chance};

/// From one look to the next while all is well.
const CALM: Duration = Duration::from_secs(5);
/// The same while the address is not wanted: it is for the operator's eyes.
const IDLE: Duration = Duration::from_secs(15);
/// The same shortly after the other host fell silent: it may be taking the address.
const ALERT: Duration = Duration::from_millis(250);
/// The same for a host that has stepped back and waits for the address to come free.
const WAITING: Duration = Duration::from_secs(1);
/// How long after a successful association descriptions may still show the past.
const SETTLE: Duration = Duration::from_secs(10);
/// The first look after an association, and the first step of the waits after it.
const CONFIRM: Duration = Duration::from_millis(50);
/// The longest wait between looks for a confirmation.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);
/// The first wait after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// The longest wait after failures.
const RETRY_LIMIT: Duration = Duration::from_secs(4);
/// The longest wait after descriptions that failed while the address may be moving.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// A call of the EC2 API.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Call {
    /// AssociateAddress: the address to this host.
    Associate,
    /// DescribeAddresses: whose it is.
    Describe,
}

/// Whose the address is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// This host.
    Us,
    /// Another host.
    Other,
    /// It is not associated.
    Nobody,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// AssociateAddress was accepted.
    Associated,
    /// DescribeAddresses was answered.
    Described(Owner),
    /// The call failed, or nobody knows what came of it.
    Failed(Call, Failure),
}

/// How a call failed, as far as it matters for what is done next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Too many calls (`RequestLimitExceeded`): waits longer.
    Throttled,
    /// All else.
    Other,
}

/// How closely the address is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watch {
    /// Now and then.
    Calm,
    /// The other host fell silent: closely.
    Alert,
    /// This host stepped back and waits for the address to come free.
    Waiting,
}

/// What an answer means for the pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// The address is confirmed to be ours, for the first time since it is wanted.
    Acquired,
    /// A description, of an address that was not wanted or that was ours all along.
    Seen(Owner),
    /// The address was ours and is not any more. What now, the pair decides: see
    /// [`Reconciler::reclaim`].
    Lost(Owner),
}

/// The reconciler of one host.
#[derive(Clone, Debug)]
pub struct Reconciler {
    chance: Chance,
    wanted: bool,
    watch: Watch,
    in_flight: Option<Call>,
    /// The description that is under way was asked for before the address was wanted: it may show
    /// what was, and settles nothing.
    overtaken: bool,
    /// The next call and when it is due; `None` while one is under way.
    due: Option<(Time, Call)>,
    /// Failures in a row.
    failures: u32,
    /// Looks in a row that did not confirm.
    looks: u32,
    /// Confirmed to be ours since it is wanted.
    acquired: bool,
    /// The last association that was accepted.
    associated: Option<Time>,
    /// The last description.
    seen: Option<(Time, Owner)>,
    /// When it was last confirmed to be ours.
    confirmed: Option<Time>,
    /// Associations that were accepted.
    moves: u32,
}

impl Reconciler {
    /// A reconciler that looks at once and wants nothing. The seed is for its jitter.
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

    /// When [`Self::call`] has one.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        // While a call is under way only its answer matters.
        self.due
            .filter(|_| self.in_flight.is_none())
            .map(|(at, _)| at)
    }

    /// The call that is due: it is under way from now on.
    pub fn call(&mut self, now: Time) -> Option<Call> {
        let (at, call) = self.due?;
        if self.in_flight.is_some() || now < at {
            return None;
        }
        self.due = None;
        self.in_flight = Some(call);
        Some(call)
    }

    /// Wants the address from now on, or leaves it.
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

    /// Looks after an address that another process of this host had until now: it is confirmed before
    /// anything else is done.
    pub fn resume(&mut self, now: Time) {
        self.wanted = true;
        self.acquired = true;
        self.confirmed = Some(now);
        self.seen = Some((now, Owner::Us));
        self.plan(now, Call::Describe);
    }

    /// How closely to watch.
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

    /// Looks at once: something happened to the address.
    pub fn look(&mut self, now: Time) {
        if self.acquired || !self.wanted {
            self.plan_by(now);
        }
    }

    /// Gets the address back.
    pub fn reclaim(&mut self, now: Time) {
        if self.wanted {
            self.acquired = false;
            self.associated = None;
            self.plan(now, Call::Associate);
        }
    }

    /// The call that was under way ended.
    pub fn answer(&mut self, now: Time, answer: Answer) -> Option<News> {
        self.in_flight = None;
        if std::mem::take(&mut self.overtaken) {
            if let Answer::Described(owner) = answer {
                self.seen = Some((now, owner));
            }
            // The association is due, and nobody has made it yet.
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

    /// Whether the address is wanted and was confirmed to be ours.
    #[must_use]
    pub fn acquired(&self) -> bool {
        self.acquired
    }

    /// The last description, and when.
    #[must_use]
    pub fn seen(&self) -> Option<(Time, Owner)> {
        self.seen
    }

    /// When the address was last confirmed to be ours.
    #[must_use]
    pub fn confirmed(&self) -> Option<Time> {
        self.confirmed
    }

    /// How many associations of this host's were accepted.
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
                // Whoever decides may ask for more: until then, look again soon.
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

    /// The association was accepted, and the description does not show it.
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
        // What an association that failed did is not known; a second one does no harm.
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

    /// The next call. A call under way is waited for: its answer plans the next one.
    fn plan(&mut self, at: Time, call: Call) {
        self.due = Some((at, call));
    }

    /// A look by then at the latest.
    fn plan_by(&mut self, at: Time) {
        match &mut self.due {
            Some((due, Call::Describe)) => *due = (*due).min(at),
            Some((_, Call::Associate)) => {}
            None if self.in_flight.is_some() => {}
            None => self.due = Some((at, Call::Describe)),
        }
    }
}

/// `first`, doubled `times` times, and no more than `limit`.
fn stepped(first: Duration, times: u32, limit: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(limit)
}

#[cfg(test)]
mod tests;
