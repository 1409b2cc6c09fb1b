//! The invariants that must hold after every event of a simulated run.

use std::time::Duration;

use lb_ha::{
    Time,
    elastic::{Answer, Owner},
    pair::{Event, Refusal},
    vrrp::{Cause, State},
};

use crate::{
    bounds,
    figures::Figures,
    overlap::{Closer, Overlap},
    plan::{Holder, Plan, Side},
};

/// Checks the invariants after every event of a run, and keeps the first violation.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Upper limit of the time from an operator's order to hand the active role over to the outcome
    /// of the hand-over.
    outcome: Duration,
    sides: [Seen; 2],
    overlap: Overlap,
    /// Since when no host is active although one could be; `None` if a host is active or none could
    /// be.
    none: Option<Time>,
    /// The longest time so far for which no host was active although one could be.
    gap: Duration,
    failure: Option<String>,
}

/// What was observed of one host in a simulated run, as far as the invariants depend on it.
#[derive(Debug, Default)]
struct Seen {
    state: Option<State>,
    /// Whether the virtual addresses, which move between the hosts, are on the host's interface.
    addresses: bool,
    /// Whether the host stepped back (left the active role because another host might have the
    /// Elastic IP), and since then neither heard the other host nor was told that the Elastic IP is
    /// free or its own.
    stepped_back: bool,
    /// When the first of the orders to hand the active role over was given that have no outcome
    /// yet: one outcome may answer two orders.
    ordered: Option<Time>,
}

impl Watch {
    /// Creates the checker of the invariants for a run of this plan.
    #[must_use]
    pub(crate) fn over(plan: &Plan) -> Self {
        let longest = plan.hosts.iter().map(|host| host.handover).max();
        let taking = bounds::TAKING + bounds::ARRIVING;
        Self {
            outcome: longest.unwrap_or_default() + taking + bounds::MARGIN,
            sides: Default::default(),
            none: None,
            overlap: Overlap::within(plan),
            gap: Duration::ZERO,
            failure: None,
        }
    }

    /// Records a violation of an invariant, unless one is recorded already.
    pub(crate) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// Returns the recorded violation and removes it; `None` if there is none.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Copies the longest times that were observed to the figures of the run.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        self.overlap.add_to(figures);
        figures.gap = self.gap;
    }

    /// Notes that the agent of this host starts.
    pub(crate) fn starts(&mut self, side: Side) {
        self.sides[side.index()] = Seen {
            state: Some(State::Init),
            ..Seen::default()
        };
    }

    /// Notes that the agent of this host has ended.
    pub(crate) fn ends(&mut self, side: Side) {
        self.sides[side.index()] = Seen::default();
    }

    /// Returns the measurement of how long both hosts are active.
    pub(crate) fn overlap(&mut self) -> &mut Overlap {
        &mut self.overlap
    }

    /// Notes that the agent of this host has handled an event.
    pub(crate) fn took_in(&mut self, now: Time, side: Side, event: &Event) {
        match event {
            Event::Answer(Answer::Associated) => self.overlap.told(now, side),
            Event::HandOver(_) => {
                self.sides[side.index()].ordered.get_or_insert(now);
            }
            Event::Advert(_)
            | Event::PairMessage(_)
            | Event::Answer(Answer::Described(Owner::Us | Owner::Nobody)) => {
                self.sides[side.index()].stepped_back = false;
            }
            _ => {}
        }
    }

    /// Notes that the state of this host has changed. `holding`: whether the host holds back new
    /// connections.
    pub(crate) fn became(&mut self, side: Side, state: State, cause: Cause, holding: bool) {
        let seen = &mut self.sides[side.index()];
        let before = seen.state.replace(state);
        if before == Some(state) {
            self.fail(format!("{side:?}: became {state:?}, which it was"));
            return;
        }
        if !state.causes().contains(&cause) {
            self.fail(format!(
                "{side:?}: became {state:?} for {cause:?}, which is not listed as a cause of it"
            ));
            return;
        }
        seen.stepped_back |= cause == Cause::SteppedBack;
        let gives = before == Some(State::Master) && cause == Cause::HandOver;
        if gives && !holding {
            self.fail(format!("{side:?}: gives its role and has not held first"));
        }
    }

    /// Notes that the virtual addresses, which move between the hosts, were added to this host's
    /// interface, or removed from it.
    pub(crate) fn addresses(&mut self, side: Side, here: bool) {
        self.sides[side.index()].addresses = here;
    }

    /// Checks, after a host has handled an event, that the virtual addresses, which move between
    /// the hosts, are on its interface exactly when they should be. `seen_here`: whether the host
    /// was last told that the Elastic IP is associated with it.
    pub(crate) fn stepped(&mut self, side: Side, state: State, seen_here: bool) {
        let here = self.sides[side.index()].addresses;
        let right = match state {
            State::Master => here,
            // A standby keeps the virtual addresses for as long as the EC2 API says that packets to
            // the Elastic IP arrive at it.
            State::Backup => here == seen_here,
            State::Init | State::Fault => !here,
        };
        if !right {
            self.fail(format!("{side:?}: addresses here: {here}, while {state:?}"));
        }
    }

    /// Notes that a host calls the EC2 API to get the Elastic IP, which belongs to `holder` at this
    /// time.
    pub(crate) fn takes_address(&mut self, side: Side, holder: Holder) {
        let elsewhere = holder != Holder::Nobody && holder != Holder::Host(side);
        if self.sides[side.index()].stepped_back && elsewhere {
            self.fail(format!(
                "{side:?}: stepped back, heard nobody, and moves the address from {holder:?}"
            ));
        }
    }

    /// Notes that a hand-over of the active role by this host has an outcome.
    pub(crate) fn handed_over(&mut self, side: Side, outcome: Result<(), Refusal>) {
        if outcome == Err(Refusal::UnderWay) {
            return;
        }
        if self.sides[side.index()].ordered.take().is_none() {
            self.fail(format!(
                "{side:?}: the outcome of a hand-over nobody ordered"
            ));
        }
    }

    /// Checks that the present state of both hosts violates no invariant. `both` is `None` unless
    /// both hosts are active.
    pub(crate) fn look(
        &mut self,
        now: Time,
        running: [bool; 2],
        able: [bool; 2],
        active: [bool; 2],
        both: Option<[Closer; 2]>,
    ) {
        self.look_for_outcomes(now, running);
        let none = able.contains(&true) && active == [false; 2];
        match (none, self.none) {
            (true, None) => self.none = Some(now),
            (false, Some(since)) => {
                self.none = None;
                self.gap = self.gap.max(now.since(since));
            }
            _ => {}
        }
        if let Err(what) = self.overlap.look(now, both) {
            self.fail(what);
        }
    }

    fn look_for_outcomes(&mut self, now: Time, running: [bool; 2]) {
        for side in Side::BOTH {
            let seen = &mut self.sides[side.index()];
            let Some(ordered) = &mut seen.ordered else {
                continue;
            };
            if !running[side.index()] {
                // A suspended agent cannot report the outcome of its hand-over, so the time limit
                // for the outcome starts again.
                *ordered = now;
            } else if now.since(*ordered) > self.outcome {
                self.fail(format!("{side:?}: no outcome of an order to hand over"));
            }
        }
    }
}
