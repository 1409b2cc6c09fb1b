//! Stepping back: when the hosts cannot hear each other, the owner of the Elastic IP, as the EC2
//! API says, decides which host leaves its role.

use std::time::Duration;

use super::{ALERT_SPAN, Arbiter, Host, LEASE, LONG_LEASE};
use crate::{
    Time,
    elastic::{Owner, Reconciler, Watch},
    vrrp::{Cause, State},
};

/// Time for which a host that stepped back hears a master with a lower priority, by adverts alone,
/// before it takes over: it does not know whether that master hears it too.
const HOLD: Duration = Duration::from_secs(30);
/// Upper limit of [`HOLD`], which doubles each time the host steps back again.
const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// Why this host, as master, may no longer have the Elastic IP.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// When the peer fell silent, while this host was master; `None` while the peer is heard.
    pub(super) silent_since: Option<Time>,
    /// When this host, as master, stopped hearing the peer as a standby; `None` while it hears it
    /// as one.
    pub(super) unpaired_since: Option<Time>,
    /// When an answer of the EC2 API first showed the Elastic IP at another host; `None` without
    /// such an answer since the API confirmed that the Elastic IP is at this host.
    pub(super) disputed: Option<Time>,
}

/// The state of this host after it has stepped back.
#[derive(Clone, Debug)]
pub(super) struct Yield {
    since: Time,
    /// Whether the peer was heard after this host stepped back: if the peer falls silent now, it is
    /// lost.
    heard: bool,
    preempt_from: Time,
}

impl Yield {
    pub(super) fn may_take(&self) -> bool {
        self.heard
    }

    pub(super) fn may_preempt(&self, now: Time) -> bool {
        self.heard && now >= self.preempt_from
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.heard.then_some(self.preempt_from)
    }
}

impl Host {
    /// Handles a confirmation by the EC2 API that the Elastic IP is at this host.
    pub(super) fn address_is_here(&mut self, now: Time) {
        self.doubt.disputed = None;
        if self.router.state() == State::Master {
            // The next heartbeat is sent immediately: after a hand-over, the peer waits for this
            // host to say that it has the Elastic IP.
            self.heartbeats.next = self.heartbeats.next.map(|due| due.min(now));
        } else {
            self.yielding = None;
        }
    }

    /// Handles an answer of the EC2 API that shows the Elastic IP at `owner`, although this host
    /// had it.
    pub(super) fn address_is_lost(&mut self, now: Time, owner: Owner) {
        if self.router.state() != State::Master {
            return;
        }
        let hears = self.peer.is_heard(now, self.detection());
        let both_masters = hears && self.peer.is_master(now, self.detection());
        match owner {
            Owner::Us => {}
            Owner::Nobody => self.reclaim(now),
            Owner::Other => {
                // Wait for another answer of the EC2 API: this answer may be stale, the peer may
                // have fallen silent a moment ago, or two masters may be about to hear each other.
                let patience = if both_masters {
                    self.detection() * 2
                } else {
                    Duration::ZERO
                };
                match self.doubt.disputed {
                    None => self.doubt.disputed = Some(now),
                    Some(since) if now.since(since) <= patience => {}
                    Some(_) if hears && !both_masters => self.reclaim(now),
                    Some(_) => self.step_back(now),
                }
            }
        }
    }

    /// Returns when [`Self::watch_silence`] may next change how often the EC2 API is asked; `None`
    /// if it cannot.
    pub(super) fn silence_deadline(&self) -> Option<Time> {
        if self.router.state() != State::Master || self.settings.arbiter == Arbiter::None {
            return None;
        }
        match self.doubt.silent_since {
            None => Some(self.peer.heard()? + self.detection() + Duration::from_nanos(1)),
            Some(since) => Some(since + ALERT_SPAN),
        }
    }

    /// Returns when a master that does not hear the peer as a standby can no longer assume that it
    /// has the Elastic IP; `None` if it hears the peer as a standby, or does not have the Elastic
    /// IP.
    pub(super) fn lease_end(&self) -> Option<Time> {
        let confirmed = self.reconciler.as_ref().and_then(Reconciler::confirmed)?;
        let fresh = (self.doubt.silent_since)
            .filter(|since| self.now.since(*since) < ALERT_SPAN)
            .map(|since| confirmed.max(since) + LEASE);
        // A standby is not heard without a link between the agents, so its silence says nothing
        // then.
        let old = (self.doubt.unpaired_since)
            .filter(|_| self.settings.link)
            .map(|since| confirmed.max(since) + LONG_LEASE);
        let end = fresh.into_iter().chain(old).min();
        end.filter(|_| self.has_address())
    }

    /// Sets how often a host that is master asks the EC2 API which host has the Elastic IP: more
    /// often while it does not hear the peer.
    pub(super) fn watch_silence(&mut self, now: Time) {
        let master = self.router.state() == State::Master;
        let heard = self.peer.heard();
        let silent = master && heard.is_some() && !self.peer.is_heard(now, self.detection());
        self.doubt.silent_since = match (silent, self.doubt.silent_since) {
            (true, None) => Some(now),
            (true, since) => since,
            (false, _) => None,
        };
        let hears_standby = self.peer.is_heard(now, self.detection())
            && !self.peer.is_master(now, self.detection());
        self.doubt.unpaired_since =
            (master && !hears_standby).then(|| self.doubt.unpaired_since.unwrap_or(now));
        let fresh = self
            .doubt
            .silent_since
            .is_some_and(|since| now.since(since) < ALERT_SPAN);
        let watch = if fresh || self.doubt.disputed.is_some() {
            Watch::Alert
        } else if self.yielding.is_some() {
            Watch::Waiting
        } else {
            Watch::Calm
        };
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.watch(now, watch);
        }
    }

    /// Steps back if this host, as master, has heard neither its standby nor the EC2 API for too
    /// long: it may have lost the Elastic IP.
    pub(super) fn watch_lease(&mut self, now: Time) {
        if self.lease_end().is_some_and(|end| now >= end) {
            self.step_back(now);
        }
    }

    /// Ends this host's state of having stepped back once the hosts hear each other again.
    pub(super) fn tick_yield(&mut self, now: Time) {
        let both_hear = self.peer.both_hear(now, self.detection());
        let heard = self.peer.heard();
        let Some(yielding) = &mut self.yielding else {
            return;
        };
        yielding.heard |= heard.is_some_and(|heard| heard > yielding.since);
        if both_hear {
            self.yielding = None;
            self.yields = 0;
        }
    }

    fn step_back(&mut self, now: Time) {
        self.doubt.disputed = None;
        self.yields = self.yields.saturating_add(1);
        let hold = HOLD.saturating_mul(1 << (self.yields - 1).min(8));
        self.yielding = Some(Yield {
            since: now,
            heard: false,
            preempt_from: now + hold.min(HOLD_LIMIT),
        });
        self.route(now, |router, out| {
            router.resign(now, Cause::SteppedBack, out);
        });
    }

    fn reclaim(&mut self, now: Time) {
        self.doubt.disputed = None;
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.reclaim(now);
        }
    }
}
