//! Runs the plan of a run, which has the settings of the pair and the troubles, in a simulated
//! world.

use std::time::Duration;

use lb_ha::{Time, pair::Arbiter, vrrp::State};

use crate::{
    bounds,
    figures::Figures,
    plan::{Holder, Plan, Side},
    world::{Fact, Violation, World},
};

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured and counted in the run.
    pub figures: Figures,
    /// The first violated invariant; `None` if all invariants held.
    pub violation: Option<Violation>,
    /// A line for each event, if a trace was requested; otherwise empty.
    pub trace: Vec<String>,
}

/// Runs a plan until its troubles are over, then until the pair must be stable, and for a while
/// after that.
#[must_use]
pub fn run(plan: &Plan, trace: bool) -> Outcome {
    let mut world = World::new(plan.clone(), trace);
    let violation = live(&mut world, plan).err();
    let mut figures = world.figures();
    if violation.is_none() {
        figures.convergence = last_change(&world).since(Time::after_start(plan.healed));
    }
    Outcome {
        figures,
        violation,
        trace: world.take_trace(),
    }
}

fn live(world: &mut World, plan: &Plan) -> Result<(), Violation> {
    world.run_until(plan.healed)?;
    // Without a link, two hosts that both stepped back because a third machine has the Elastic IP
    // never hear each other: a person who gave the Elastic IP to that machine has to give the
    // Elastic IP back.
    if world.holder() == Holder::Stranger
        && Side::BOTH.into_iter().all(|side| stepped_back(world, side))
    {
        world.bring_back(Side::A);
    }
    let delay = plan.hosts.iter().map(|host| host.vrrp.preempt_delay).max();
    let mut calm = plan.healed + bounds::CALM_WITHIN + delay.unwrap_or_default();
    world.run_until(calm)?;
    if !plan.link {
        calm = await_holds(world, calm)?;
    }
    one_owner(world, plan)?;
    world.run_until(calm + bounds::STAYS_CALM)?;
    let changed = last_change(world);
    if changed > Time::after_start(calm) {
        return violation(
            world,
            format!("no calm: the last change was at {changed:?}"),
        );
    }
    one_owner(world, plan)
}

/// Runs the world until no host delays its takeover any more because it stepped back (left the
/// active role, as another host might have the Elastic IP) and hears its peer by adverts alone.
/// Returns the time at which the last such delay ends.
fn await_holds(world: &mut World, calm: Duration) -> Result<Duration, Violation> {
    let limit = calm + bounds::HOLD_LIMIT;
    let mut now = calm;
    loop {
        let waits = Side::BOTH.into_iter().any(|side| stepped_back(world, side));
        let changes = world.now().since(last_change(world)) < bounds::SETTLE;
        if now >= limit || !waits && !changes {
            return Ok(now);
        }
        now += bounds::SETTLE;
        world.run_until(now)?;
    }
}

fn stepped_back(world: &World, side: Side) -> bool {
    world.view(side).is_some_and(|view| view.stepped_back)
}

/// Checks that exactly one host is active, that the other is its standby, and that the active host
/// has the Elastic IP.
fn one_owner(world: &World, plan: &Plan) -> Result<(), Violation> {
    let states = Side::BOTH.map(|side| world.state(side));
    let Some(active) = world.active() else {
        return violation(world, format!("not one active host at the end: {states:?}"));
    };
    if world.state(active.other()) != Some(State::Backup) {
        return violation(world, format!("no standby at the end: {states:?}"));
    }
    if Side::BOTH.into_iter().any(|side| world.holds(side)) {
        return violation(world, "a host still holds at the end".to_owned());
    }
    if plan.arbiter == Arbiter::None {
        return Ok(());
    }
    let sure = world.view(active).is_some_and(|view| view.has_address);
    if world.holder() != Holder::Host(active) || !sure {
        let holder = world.holder();
        let what = format!("{active:?} is active, {holder:?} has the address, sure: {sure}");
        return violation(world, what);
    }
    Ok(())
}

fn last_change(world: &World) -> Time {
    let change = |fact: &Fact| !matches!(fact, Fact::HandedOver(..));
    let last = world.facts().iter().rev().find(|(_, fact)| change(fact));
    last.map_or(Time::default(), |(at, _)| *at)
}

fn violation(world: &World, what: String) -> Result<(), Violation> {
    Err(Violation {
        at: world.now(),
        what,
    })
}

/// Returns a number of seconds as a duration, for the times of plans in tests.
#[must_use]
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
