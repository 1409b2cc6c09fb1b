//! What must hold at every step.

use std::time::Duration;

use lb_ha::{
    Time,
    elastic::{Answer, Owner},
    pair::{Arbiter, Event},
    vrrp::{Cause, State},
};

use crate::{
    bounds,
    figures::Figures,
    plan::{Holder, Plan, Side},
};

/// A silence younger than this is watched closely for long enough: 60 s, less what an overlap takes.
const FRESH: Duration = Duration::from_secs(45);
/// After troubles of the API its consequences go on: a call takes 5 s, the wait after it 4 s.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Looks on, and remembers the first thing that must not be.
#[derive(Debug)]
pub struct Watch {
    bounds: Bounds,
    arbiter: Arbiter,
    sides: [Seen; 2],
    /// Since when both are active, and whether each had heard the other a moment before.
    both: Option<(Time, bool)>,
    /// Since when none is active and one could be.
    none: Option<Time>,
    /// Since when each can hear the other.
    hearing: Option<Time>,
    /// Since when the EC2 API is well and nothing is left of its troubles.
    api: Option<Time>,
    figures: Figures,
    failure: Option<String>,
}

#[derive(Debug)]
struct Bounds {
    hearing: Duration,
    fresh: Duration,
    calm: Duration,
    /// From an order to hand over to what came of it.
    outcome: Duration,
}

/// One host.
#[derive(Debug, Default)]
struct Seen {
    state: Option<State>,
    /// It stepped back, and neither heard anything since then nor was told that the address is
    /// free or its own.
    stepped_back: bool,
    /// The order to hand over that was given first and has no outcome.
    ordered: Option<Time>,
}

impl Watch {
    /// Looks on at a run.
    #[must_use]
    pub fn over(plan: &Plan) -> Self {
        let longest = plan.hosts.iter().map(|host| host.handover).max();
        Self {
            bounds: Bounds {
                hearing: bounds::overlap_hearing(plan),
                fresh: bounds::overlap_fresh(plan),
                calm: bounds::overlap_calm(plan),
                outcome: longest.unwrap_or_default()
                    + Duration::from_secs(15)
                    + bounds::MARGIN,
            },
            arbiter: plan.arbiter,
            sides: Default::default(),
            both: None,
            none: None,
            hearing: Some(Time::default()),
            api: Some(Time::default()),
            figures: Figures::default(),
            failure: None,
        }
    }

    /// Something is as it must not be.
    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// What is as it must not be.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// The extremes that were seen.
    pub fn add_to(&self, figures: &mut Figures) {
        figures.overlap_hearing = self.figures.overlap_hearing;
        figures.overlap_fresh = self.figures.overlap_fresh;
        figures.overlap_calm = self.figures.overlap_calm;
        figures.gap = self.figures.gap;
    }

    /// An agent starts.
    pub fn starts(&mut self, side: Side) {
        self.sides[side.index()] = Seen {
            state: Some(State::Init),
            ..Seen::default()
        };
    }

    /// An agent is gone.
    pub fn ends(&mut self, side: Side) {
        self.sides[side.index()] = Seen::default();
    }

    /// The network or the API has changed.
    pub fn conditions(&mut self, now: Time, hearing: bool, api: bool) {
        self.hearing = hearing.then(|| self.hearing.unwrap_or(now));
        self.api = api.then(|| self.api.unwrap_or(now + AFTERMATH));
    }

    /// The address was moved by hand: the pair has to find out.
    pub fn moved_by_hand(&mut self, now: Time) {
        self.api = self.api.map(|since| since.max(now + AFTERMATH));
    }

    /// A clock is not what it was: a host may take over that hears the other one.
    pub fn clock_jumped(&mut self, now: Time) {
        self.hearing = self.hearing.map(|since| since.max(now));
    }

    /// An agent took something in.
    pub fn took_in(&mut self, _now: Time, side: Side, event: &Event) {
        match event {
            Event::Advert(_)
            | Event::Word(_)
            | Event::Answer(Answer::Described(Owner::Us | Owner::Nobody)) => {
                self.sides[side.index()].stepped_back = false;
            }
            _ => {}
        }
    }

    /// A host's state changed.
    pub fn became(&mut self, _now: Time, side: Side, state: State, cause: Cause, holding: bool) {
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
    pub fn addresses(&mut self, side: Side, here: bool) {
        let state = self.sides[side.index()].state;
        if here != (state == Some(State::Master)) {
            self.fail(format!("{side:?}: addresses {here} while {state:?}"));
        }
    }

    /// A host calls for the address, which belongs to `holder`.
    pub fn takes_address(&mut self, side: Side, holder: Holder) {
        let elsewhere = holder != Holder::Nobody && holder != Holder::Host(side);
        if self.sides[side.index()].stepped_back && elsewhere {
            self.fail(format!(
                "{side:?}: stepped back, heard nobody, and moves the address from {holder:?}"
            ));
        }
    }

    /// A hand-over is ordered.
    pub fn ordered(&mut self, now: Time, side: Side) {
        self.sides[side.index()].ordered.get_or_insert(now);
    }

    /// A hand-over has an outcome.
    pub fn handed_over(&mut self, side: Side) {
        if self.sides[side.index()].ordered.take().is_none() {
            self.fail(format!("{side:?}: the outcome of a hand-over nobody ordered"));
        }
    }

    /// Compares what is with what may be.
    pub fn look(
        &mut self,
        now: Time,
        running: [bool; 2],
        active: [bool; 2],
        silent_for: impl FnOnce() -> [Option<Duration>; 2],
    ) {
        self.look_for_outcomes(now, running);
        let none = running.contains(&true) && active == [false; 2];
        match (none, self.none) {
            (true, None) => self.none = Some(now),
            (false, Some(since)) => {
                self.none = None;
                self.figures.gap = self.figures.gap.max(now.since(since));
            }
            _ => {}
        }
        if active != [true; 2] {
            // Until now both were.
            if let Some((since, fresh)) = self.both.take() {
                self.measure(now, since, fresh);
            }
            return;
        }
        let (since, fresh) = *self.both.get_or_insert_with(|| {
            let fresh = |silent: Option<Duration>| silent.is_some_and(|silent| silent < FRESH);
            (now, silent_for().into_iter().all(fresh))
        });
        self.measure(now, since, fresh);
    }

    fn measure(&mut self, now: Time, since: Time, fresh: bool) {
        if let Some(hearing) = self.hearing {
            let overlap = now.since(since.max(hearing));
            self.figures.overlap_hearing = self.figures.overlap_hearing.max(overlap);
            if overlap > self.bounds.hearing {
                self.fail(format!(
                    "both active for {overlap:?} though they hear each other"
                ));
            }
        }
        if let Some(api) = self.api
            && self.arbiter == Arbiter::Ec2
        {
            let overlap = now.since(since.max(api));
            let (longest, bound, how) = if fresh {
                (
                    &mut self.figures.overlap_fresh,
                    self.bounds.fresh,
                    "cut off a moment ago",
                )
            } else {
                (
                    &mut self.figures.overlap_calm,
                    self.bounds.calm,
                    "cut off for long",
                )
            };
            *longest = (*longest).max(overlap);
            if overlap > bound {
                self.fail(format!(
                    "both active for {overlap:?} though the address has an owner, {how}"
                ));
            }
        }
    }

    fn look_for_outcomes(&mut self, now: Time, running: [bool; 2]) {
        for side in Side::BOTH {
            let seen = &mut self.sides[side.index()];
            let Some(ordered) = &mut seen.ordered else {
                continue;
            };
            if !running[side.index()] {
                // A stopped agent owes nothing.
                *ordered = now;
            } else if now.since(*ordered) > self.bounds.outcome {
                self.fail(format!("{side:?}: no outcome of an order to hand over"));
            }
        }
    }
}
