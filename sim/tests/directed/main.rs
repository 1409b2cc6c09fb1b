//! Tests of single events, each in a world in which nothing else goes wrong, over many seeds.
#![forbid(unsafe_code)]

mod api;
mod hand_overs;
mod partitions;
mod upgrades;

use std::time::Duration;

use lb_ha::{
    Time,
    pair::{Arbiter, Refusal},
    vrrp::{Cause, State},
};
use sim::{
    bounds,
    plan::{Holder, Plan, Side, What},
    world::{Fact, World},
};

const SEEDS: std::ops::Range<u64> = 0..200;
/// When the event that a test is about happens, from the beginning of the simulated run: by then
/// one host has long been active, and the other has been its standby.
const EVENT: Duration = Duration::from_secs(20);
/// Longest duration of a call to the EC2 API while it is healthy.
const CALL: Duration = sim::conditions::PROMPT;
const ALL: What = What::Cut {
    from: [true, true],
    adverts: true,
    link: true,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Creates a world of this plan and runs it until `end`. A violated invariant fails the test.
fn live(plan: &Plan, end: Duration) -> World {
    let mut world = World::new(plan.clone(), false);
    go_on(&mut world, plan, end);
    world
}

fn go_on(world: &mut World, plan: &Plan, end: Duration) {
    if let Err(violation) = world.run_until(end) {
        panic!("seed {}: {}", plan.seed, violation.what);
    }
}

/// Returns the events from the time `from` on, each with the time that has passed since `from`.
fn since(world: &World, from: Duration) -> impl Iterator<Item = (Duration, Fact)> + '_ {
    let from = Time::after_start(from);
    let later = world.facts().iter().filter(move |(at, _)| *at >= from);
    later.map(move |(at, fact)| (at.since(from), *fact))
}

fn moves(world: &World, from: Duration) -> usize {
    since(world, from)
        .filter(|(_, fact)| matches!(fact, Fact::Moved(_)))
        .count()
}

fn when(world: &World, from: Duration, wanted: impl Fn(&Fact) -> bool) -> Option<Duration> {
    let found = since(world, from).find(|(_, fact)| wanted(fact));
    found.map(|(after, _)| after)
}

fn takes_over(world: &World, side: Side) -> Duration {
    let became = |fact: &Fact| matches!(fact, Fact::Became(who, State::Master, _) if *who == side);
    when(world, EVENT, became).expect("takes over")
}

/// Asserts that the host `active` is active and has the Elastic IP, that the other host is its
/// standby, and that neither holds back new connections.
fn is_calm(world: &World, active: Side) {
    assert_eq!(world.active(), Some(active));
    assert_eq!(world.state(active.other()), Some(State::Backup));
    assert_eq!(world.holder(), Holder::Host(active));
    let view = world.view(active).expect("runs");
    assert!(view.has_address);
    assert!(!world.holds(active) && !world.holds(active.other()));
}

/// Returns the plan of a run of a pair without troubles, after checking that host A is active in
/// such a run.
fn calm(seed: u64) -> Plan {
    let plan = Plan::simple(seed);
    let world = live(&plan, EVENT);
    is_calm(&world, Side::A);
    assert_eq!(moves(&world, seconds(0)), 0, "it was there from the start");
    plan
}

#[test]
fn a_lost_active_host_is_replaced_within_the_master_down_interval_and_one_call() {
    for seed in SEEDS {
        for power in [false, true] {
            let plan = calm(seed).with(
                EVENT,
                seconds(60),
                What::Crash {
                    side: Side::A,
                    power,
                },
            );
            let world = live(&plan, EVENT + seconds(50));
            // A host takes over after three intervals of 100 ms and the skew, which is 156/256 of
            // an interval.
            let down = Duration::from_micros(360_938) + bounds::MARGIN;
            let became = takes_over(&world, Side::B);
            assert!(became <= down, "seed {seed}: {became:?}");
            let moved = |fact: &Fact| *fact == Fact::Moved(Holder::Host(Side::B));
            let moved = when(&world, EVENT, moved).expect("moves");
            assert!(moved <= down + CALL, "seed {seed}: {moved:?}");
            assert_eq!(moves(&world, EVENT), 1);
            assert_eq!(world.active(), Some(Side::B));
        }
    }
}

#[test]
fn a_host_that_was_lost_comes_back_and_is_handed_the_role_with_one_move() {
    for seed in SEEDS {
        let crash = What::Crash {
            side: Side::A,
            power: true,
        };
        let plan = calm(seed).with(EVENT, seconds(20), crash);
        let back = EVENT + seconds(20);
        let world = live(&plan, back + seconds(70));
        is_calm(&world, Side::A);
        assert_eq!(moves(&world, back), 1, "seed {seed}");
        let gave = Fact::Became(Side::B, State::Backup, Cause::HandOver);
        assert!(when(&world, back, |fact| *fact == gave).is_some());
    }
}

#[test]
fn a_host_that_was_lost_comes_back_and_stays_standby_where_it_must_not_preempt() {
    for seed in SEEDS {
        let crash = What::Crash {
            side: Side::A,
            power: false,
        };
        let mut plan = calm(seed).with(EVENT, seconds(20), crash);
        for host in &mut plan.hosts {
            host.vrrp.preempt = false;
        }
        let back = EVENT + seconds(20);
        let world = live(&plan, back + seconds(70));
        is_calm(&world, Side::B);
        assert_eq!(moves(&world, back), 0, "seed {seed}");
    }
}

#[test]
fn a_lost_standby_changes_nothing() {
    for seed in SEEDS {
        let crash = What::Crash {
            side: Side::B,
            power: true,
        };
        let plan = calm(seed).with(EVENT, seconds(20), crash);
        let world = live(&plan, EVENT + seconds(80));
        is_calm(&world, Side::A);
        assert_eq!(moves(&world, EVENT), 0);
        let changed = |fact: &Fact| matches!(fact, Fact::Became(Side::A, ..));
        assert_eq!(when(&world, EVENT, changed), None);
    }
}

#[test]
fn an_agent_that_was_stopped_for_a_while_does_not_stay_active_beside_the_other() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(10), What::Pause(Side::A));
        let mut world = live(&plan, EVENT + seconds(9));
        assert_eq!(world.active(), Some(Side::B), "seed {seed}");
        let goes_on = EVENT + seconds(10);
        // At this time the hosts hear each other, or the association of the Elastic IP has decided
        // which of them stays active.
        go_on(&mut world, &plan, goes_on + bounds::overlap_fresh(&plan));
        assert!(world.active().is_some(), "seed {seed}: one of them");
        go_on(&mut world, &plan, goes_on + seconds(60));
        is_calm(&world, Side::A);
        assert_eq!(moves(&world, goes_on), 1, "seed {seed}");
    }
}

#[test]
fn a_host_that_did_not_run_during_a_hand_over_takes_the_role_and_keeps_it() {
    let mut tried = 0;
    for seed in SEEDS {
        // While the standby is suspended, adverts, the offer of the role and the goodbye wait in
        // its sockets.
        let pause = Duration::from_millis(440 + seed % 60);
        let plan = calm(seed)
            .with(EVENT, seconds(1), What::HandOver(Side::A))
            .with(EVENT, pause, What::Pause(Side::B));
        let world = live(&plan, EVENT + seconds(30));
        let at = |wanted: fn(&Fact) -> bool| when(&world, EVENT, wanted);
        let took_back = at(|fact| matches!(fact, Fact::Became(Side::A, State::Master, _)));
        if took_back.is_some_and(|after| after <= pause + bounds::MARGIN) {
            // In the run of this seed the active host gave up waiting for the suspended standby and
            // took the role back, so the run is not what the test is about, and is skipped.
            continue;
        }
        tried += 1;
        assert_eq!(
            at(|fact| matches!(fact, Fact::Became(Side::B, State::Master, _))),
            Some(pause),
            "seed {seed}"
        );
        assert_eq!(took_back, None, "seed {seed}");
        let loses = at(|fact| matches!(fact, Fact::Became(Side::B, State::Backup, _)));
        assert_eq!(loses, None, "seed {seed}");
    }
    assert!(tried > 20, "{tried} seeds");
}
