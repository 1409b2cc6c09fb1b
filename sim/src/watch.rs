//! Invariants that must hold at every step.

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

/// Checks the invariants, and keeps the first violation.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Longest time from an order to hand over to its outcome.
    outcome: Duration,
    sides: [Seen; 2],
    overlap: Overlap,
    /// Since when no host is active although one could be.
    none: Option<Time>,
    /// Longest time that no host was active although one could be.
    gap: Duration,
    failure: Option<String>,
}

/// What was observed of one host.
#[derive(Debug, Default)]
struct Seen {
    state: Option<State>,
    /// The addresses are on its interface.
    addresses: bool,
    /// It stepped back, and neither heard anything since then nor was told that the address is
    /// free or its own.
    stepped_back: bool,
    /// The order to hand over that was given first and has no outcome: one may answer two.
    ordered: Option<Time>,
}

impl Watch {
    /// Returns the checks for a run.
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

    /// Records a violation.
    pub(crate) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// Takes the recorded violation.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Adds the observed extremes to the figures.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        self.overlap.add_to(figures);
        figures.gap = self.gap;
    }

    /// An agent starts.
    pub(crate) fn starts(&mut self, side: Side) {
        self.sides[side.index()] = Seen {
            state: Some(State::Init),
            ..Seen::default()
        };
    }

    /// An agent has ended.
    pub(crate) fn ends(&mut self, side: Side) {
        self.sides[side.index()] = Seen::default();
    }

    /// Returns the measurement of how long both hosts are active.
    pub(crate) fn overlap(&mut self) -> &mut Overlap {
        &mut self.overlap
    }

    /// An agent handled an event.
    pub(crate) fn took_in(&mut self, now: Time, side: Side, event: &Event) {
        match event {
            Event::Answer(Answer::Associated) => self.overlap.told(now, side),
            Event::HandOver(_) => {
                self.sides[side.index()].ordered.get_or_insert(now);
            }
            Event::Advert(_)
            | Event::Word(_)
            | Event::Answer(Answer::Described(Owner::Us | Owner::Nobody)) => {
                self.sides[side.index()].stepped_back = false;
            }
            _ => {}
        }
    }

    /// A host's state changed.
    pub(crate) fn became(&mut self, side: Side, state: State, cause: Cause, holding: bool) {
        let seen = &mut self.sides[side.index()];
        let before = seen.state.replace(state);
        if before == Some(state) {
            self.fail(format!("{side:?}: became {state:?}, which it was"));
            return;
        }
        seen.stepped_back |= cause == Cause::SteppedBack;
        let gives = before == Some(State::Master) && cause == Cause::HandOver;
        if gives && !holding {
            self.fail(format!("{side:?}: gives its role and has not held first"));
        }
    }

    /// The host's addresses are put on, or taken off.
    pub(crate) fn addresses(&mut self, side: Side, here: bool) {
        self.sides[side.index()].addresses = here;
    }

    /// A host has taken a step, and was last told that the address is here or not: the addresses
    /// are where they belong.
    pub(crate) fn stepped(&mut self, side: Side, state: State, seen_here: bool) {
        let here = self.sides[side.index()].addresses;
        let right = match state {
            State::Master => here,
            // It keeps them for as long as the API says that it gets what is sent to them.
            State::Backup => here == seen_here,
            State::Init | State::Fault => !here,
        };
        if !right {
            self.fail(format!("{side:?}: addresses here: {here}, while {state:?}"));
        }
    }

    /// A host calls for the address, which belongs to `holder`.
    pub(crate) fn takes_address(&mut self, side: Side, holder: Holder) {
        let elsewhere = holder != Holder::Nobody && holder != Holder::Host(side);
        if self.sides[side.index()].stepped_back && elsewhere {
            self.fail(format!(
                "{side:?}: stepped back, heard nobody, and moves the address from {holder:?}"
            ));
        }
    }

    /// A hand-over has an outcome.
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

    /// Checks the present state; `both` where both hosts are active.
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
                // A stopped agent cannot report an outcome: its time starts again.
                *ordered = now;
            } else if now.since(*ordered) > self.outcome {
                self.fail(format!("{side:?}: no outcome of an order to hand over"));
            }
        }
    }
}
