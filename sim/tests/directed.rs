//! Single events, each in a world where nothing else goes wrong, over many seeds.
#![forbid(unsafe_code)]

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
/// When the event happens: the pair has been calm for long.
const EVENT: Duration = Duration::from_secs(20);
/// A call of a healthy EC2 API, at the longest.
const CALL: Duration = sim::conditions::PROMPT;
const ALL: What = What::Cut {
    from: [true, true],
    adverts: true,
    link: true,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets the world live until `end`; what it says must not happen fails the test.
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

/// What happened from `from` on, and how long after it.
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

/// One host is active and has the address, the other is its standby, and nobody holds.
fn is_calm(world: &World, active: Side) {
    assert_eq!(world.active(), Some(active));
    assert_eq!(world.state(active.other()), Some(State::Backup));
    assert_eq!(world.holder(), Holder::Host(active));
    let view = world.view(active).expect("runs");
    assert!(view.has_address);
    assert!(!world.holds(active) && !world.holds(active.other()));
}

/// The pair before anything happens: A is active.
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
            // Three intervals of 100 ms, and 156/256 of one.
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
fn a_partition_moves_the_address_once_and_its_end_at_most_once() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(60), ALL);
        let mut world = live(&plan, EVENT + seconds(59));
        // Whoever the address went to is active, and the other one has stepped back.
        let active = world.active().expect("one is active");
        assert_eq!(active, Side::B);
        assert_eq!(world.holder(), Holder::Host(Side::B));
        assert!(world.view(Side::A).expect("runs").stepped_back);
        assert_eq!(moves(&world, EVENT), 1, "seed {seed}");
        let healed = EVENT + seconds(60);
        go_on(&mut world, &plan, healed + seconds(90));
        is_calm(&world, Side::A);
        assert_eq!(moves(&world, healed), 1, "seed {seed}");
        let figures = world.figures();
        assert!(
            figures.overlap_fresh <= bounds::overlap_cut(&plan),
            "seed {seed}: {figures}"
        );
    }
}

#[test]
fn the_end_of_a_partition_moves_nothing_where_nobody_may_preempt() {
    for seed in SEEDS {
        let mut plan = calm(seed).with(EVENT, seconds(60), ALL);
        for host in &mut plan.hosts {
            host.vrrp.preempt = false;
        }
        let world = live(&plan, EVENT + seconds(150));
        is_calm(&world, Side::B);
        assert_eq!(moves(&world, EVENT), 1, "seed {seed}");
    }
}

#[test]
fn one_path_is_enough() {
    for seed in SEEDS {
        for (adverts, link) in [(true, false), (false, true)] {
            let from = [true, true];
            let cut = What::Cut {
                from,
                adverts,
                link,
            };
            let plan = calm(seed).with(EVENT, seconds(60), cut);
            let world = live(&plan, EVENT + seconds(120));
            is_calm(&world, Side::A);
            let became = |fact: &Fact| matches!(fact, Fact::Became(..));
            assert_eq!(when(&world, EVENT, became), None, "seed {seed}");
        }
    }
}

#[test]
fn a_host_that_is_cut_off_from_everything_steps_back() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(30), What::Isolated(Side::A));
        let world = live(&plan, EVENT + seconds(29));
        let stepped = Fact::Became(Side::A, State::Backup, Cause::SteppedBack);
        let stepped = when(&world, EVENT, |fact| *fact == stepped).expect("steps back");
        // It has noticed, and was without a confirmation for three seconds.
        let limit = bounds::detection(&plan) + seconds(3) + bounds::ALERT_LOOK + bounds::MARGIN;
        assert!(stepped <= limit, "seed {seed}: {stepped:?}");
        assert_eq!(world.active(), Some(Side::B));
        assert_eq!(world.holder(), Holder::Host(Side::B));
    }
}

#[test]
fn without_an_arbiter_both_are_active_in_a_partition_and_one_right_after_it() {
    for seed in SEEDS {
        let mut plan = calm(seed).with(EVENT, seconds(20), ALL);
        plan.arbiter = Arbiter::None;
        let mut world = live(&plan, EVENT + seconds(19));
        assert_eq!(world.state(Side::A), Some(State::Master));
        assert_eq!(world.state(Side::B), Some(State::Master));
        let healed = EVENT + seconds(20) + bounds::overlap_hearing(&plan);
        go_on(&mut world, &plan, healed);
        assert_eq!(world.active(), Some(Side::A), "seed {seed}");
    }
}

#[test]
fn an_ordered_hand_over_ends_requests_first_and_leaves_a_short_gap() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(1), What::HandOver(Side::A));
        let world = live(&plan, EVENT + seconds(90));
        // It stays where it was put, though A has the higher priority.
        is_calm(&world, Side::B);
        assert_eq!(moves(&world, EVENT), 1, "seed {seed}");
        let at = |wanted: Fact| when(&world, EVENT, |fact| *fact == wanted).expect("happens");
        let held = at(Fact::Hold(Side::A, true));
        let gave = at(Fact::Became(Side::A, State::Backup, Cause::HandOver));
        let moved = at(Fact::Moved(Holder::Host(Side::B)));
        let sure = at(Fact::Acquired(Side::B));
        let served = at(Fact::Hold(Side::A, false));
        assert!(held <= gave && gave <= moved && moved <= sure && sure <= served);
        assert_eq!(at(Fact::HandedOver(Side::A, Ok(()))), served);
        // Nobody accepts a connection from the hold until the address has moved.
        let quiet = plan.hosts[0].quiet.expect("requests end");
        assert!(
            moved <= quiet + CALL + bounds::MARGIN,
            "seed {seed}: {moved:?}"
        );
    }
}

#[test]
fn requests_that_do_not_end_are_waited_for_no_longer_than_the_time_they_have() {
    for seed in SEEDS {
        let mut plan = calm(seed).with(EVENT, seconds(1), What::HandOver(Side::A));
        plan.hosts[0].quiet = None;
        let world = live(&plan, EVENT + seconds(90));
        is_calm(&world, Side::B);
        let moved = |fact: &Fact| *fact == Fact::Moved(Holder::Host(Side::B));
        let moved = when(&world, EVENT, moved).expect("moves");
        assert!(
            moved <= plan.hosts[0].handover + CALL + bounds::MARGIN,
            "{moved:?}"
        );
    }
}

#[test]
fn an_agent_that_is_told_to_end_hands_over_first() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(20), What::Stop(Side::A));
        let world = live(&plan, EVENT + seconds(19));
        let at = |wanted: Fact| when(&world, EVENT, |fact| *fact == wanted).expect("happens");
        let sure = at(Fact::Acquired(Side::B));
        let ended = at(Fact::Runs(Side::A, false));
        assert!(sure <= ended, "seed {seed}");
        assert_eq!(moves(&world, EVENT), 1);
        assert_eq!(world.active(), Some(Side::B));
    }
}

#[test]
fn a_standby_has_nothing_to_hand_over() {
    let plan = calm(1).with(EVENT, seconds(1), What::HandOver(Side::B));
    let world = live(&plan, EVENT + seconds(5));
    let refused = Fact::HandedOver(Side::B, Err(Refusal::NotActive));
    assert!(when(&world, EVENT, |fact| *fact == refused).is_some());
}

#[test]
fn nothing_is_handed_to_a_host_that_does_not_reach_the_api() {
    for seed in SEEDS {
        let unreachable = What::ApiUnreachable(Side::B);
        let later = EVENT + seconds(30);
        let plan = calm(seed).with(EVENT, seconds(60), unreachable).with(
            later,
            seconds(1),
            What::HandOver(Side::A),
        );
        let world = live(&plan, EVENT + seconds(59));
        is_calm(&world, Side::A);
        let refused = Fact::HandedOver(Side::A, Err(Refusal::PeerNotReady));
        assert!(when(&world, later, |fact| *fact == refused).is_some());
    }
}

#[test]
fn an_address_that_somebody_moved_comes_back_with_one_move() {
    for seed in SEEDS {
        for holder in [Holder::Host(Side::B), Holder::Stranger, Holder::Nobody] {
            let plan = calm(seed).with(EVENT, seconds(1), What::MovedByHand(holder));
            let world = live(&plan, EVENT + seconds(60));
            is_calm(&world, Side::A);
            // One by hand, one back.
            assert_eq!(moves(&world, EVENT), 2, "seed {seed}: {holder:?}");
            let back = |fact: &Fact| *fact == Fact::Moved(Holder::Host(Side::A));
            let back = when(&world, EVENT, back).expect("comes back");
            let limit = bounds::CALM_LOOK + bounds::ALERT_LOOK + CALL * 3 + bounds::MARGIN;
            assert!(back <= limit, "seed {seed}: {back:?}");
        }
    }
}

#[test]
fn troubles_of_the_api_alone_move_nothing() {
    for seed in SEEDS {
        for trouble in [
            What::ApiThrottled(100),
            What::ApiFails(100),
            What::ApiUnreachable(Side::A),
            What::ApiSlow(seconds(6)),
            What::ApiStale(seconds(5)),
        ] {
            let plan = calm(seed).with(EVENT, seconds(30), trouble);
            let world = live(&plan, EVENT + seconds(60));
            is_calm(&world, Side::A);
            assert_eq!(moves(&world, EVENT), 0, "seed {seed}: {trouble:?}");
            let became = |fact: &Fact| matches!(fact, Fact::Became(..));
            assert_eq!(
                when(&world, EVENT, became),
                None,
                "seed {seed}: {trouble:?}"
            );
        }
    }
}

#[test]
fn a_host_lost_while_the_api_is_in_trouble_is_replaced_when_it_is_well_again() {
    for seed in SEEDS {
        for trouble in [
            What::ApiThrottled(100),
            What::ApiFails(100),
            What::ApiSlow(seconds(6)),
            What::ApiStale(seconds(5)),
        ] {
            let crash = What::Crash {
                side: Side::A,
                power: true,
            };
            let plan = calm(seed).with(EVENT, seconds(30), trouble).with(
                EVENT + seconds(1),
                seconds(100),
                crash,
            );
            let world = live(&plan, EVENT + seconds(50));
            assert_eq!(world.active(), Some(Side::B), "seed {seed}: {trouble:?}");
            assert_eq!(world.holder(), Holder::Host(Side::B));
            assert!(world.view(Side::B).expect("runs").has_address);
            assert_eq!(moves(&world, EVENT), 1, "seed {seed}: {trouble:?}");
        }
    }
}

#[test]
fn descriptions_that_show_the_past_are_not_answered_with_more_calls_for_the_address() {
    for seed in SEEDS {
        let crash = What::Crash {
            side: Side::A,
            power: true,
        };
        let stale = What::ApiStale(seconds(5));
        let plan = calm(seed).with(EVENT, seconds(30), stale).with(
            EVENT + seconds(1),
            seconds(100),
            crash,
        );
        let world = live(&plan, EVENT + seconds(30));
        let accepted = |(_, fact): &(Duration, Fact)| *fact == Fact::Accepted(Side::B);
        // One more where a description showed the address here and the next one did not.
        let calls = since(&world, EVENT).filter(accepted).count();
        assert!((1..=4).contains(&calls), "seed {seed}: {calls}");
    }
}

#[test]
fn an_agent_that_was_stopped_for_a_while_does_not_stay_active_beside_the_other() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(10), What::Pause(Side::A));
        let mut world = live(&plan, EVENT + seconds(9));
        assert_eq!(world.active(), Some(Side::B), "seed {seed}");
        let goes_on = EVENT + seconds(10);
        // They hear each other, or the owner of the address decides.
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
        // Adverts, the offer of the role and the goodbye wait in the standby's sockets.
        let pause = Duration::from_millis(440 + seed % 60);
        let plan = calm(seed)
            .with(EVENT, seconds(1), What::HandOver(Side::A))
            .with(EVENT, pause, What::Pause(Side::B));
        let world = live(&plan, EVENT + seconds(30));
        let at = |wanted: fn(&Fact) -> bool| when(&world, EVENT, wanted);
        let took_back = at(|fact| matches!(fact, Fact::Became(Side::A, State::Master, _)));
        if took_back.is_some_and(|after| after <= pause + bounds::MARGIN) {
            // The other host has given the standby up.
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

#[test]
fn without_a_link_a_partition_is_noticed_with_the_next_look() {
    for seed in SEEDS {
        let mut plan = calm(seed).with(EVENT, seconds(30), ALL);
        plan.link = false;
        let world = live(&plan, EVENT + seconds(29));
        assert_eq!(world.active(), Some(Side::B), "seed {seed}");
        assert_eq!(moves(&world, EVENT), 1);
        let figures = world.figures();
        let longest = figures.overlap_fresh.max(figures.overlap_calm);
        assert!(longest <= bounds::overlap_calm(&plan));
    }
}

#[test]
fn the_api_lost_by_the_owner_and_regained_by_the_other_host_in_a_long_partition_leaves_one_active()
{
    for seed in SEEDS {
        // The address changes its owner when the silence is old.
        let api_moves = EVENT + seconds(90);
        let plan = calm(seed)
            .with(EVENT, seconds(200), ALL)
            .with(EVENT, seconds(90), What::ApiUnreachable(Side::B))
            .with(api_moves, seconds(110), What::ApiUnreachable(Side::A));
        let mut world = live(&plan, api_moves);
        assert_eq!(world.holder(), Holder::Host(Side::A), "seed {seed}");
        assert_eq!(world.state(Side::A), Some(State::Master), "seed {seed}");
        let limit = bounds::LEASE + bounds::ALERT_LOOK + bounds::MARGIN;
        go_on(&mut world, &plan, api_moves + limit);
        assert_eq!(world.active(), Some(Side::B), "seed {seed}");
        assert_eq!(world.holder(), Holder::Host(Side::B), "seed {seed}");
        go_on(&mut world, &plan, EVENT + seconds(300));
        is_calm(&world, Side::A);
    }
}

#[test]
fn a_host_alone_for_long_steps_back_without_the_api_and_is_active_again_with_it() {
    for seed in SEEDS {
        let crash = What::Crash {
            side: Side::B,
            power: true,
        };
        let outage = EVENT + seconds(90);
        let plan = calm(seed).with(EVENT, seconds(300), crash).with(
            outage,
            seconds(60),
            What::ApiUnreachable(Side::A),
        );
        let mut world = live(&plan, outage + seconds(59));
        assert!(world.view(Side::A).expect("runs").stepped_back);
        // A call that waits for an answer, the pause after it, and the next one.
        let limit = bounds::CALL_LIMIT + seconds(4) + CALL + bounds::MARGIN;
        go_on(&mut world, &plan, outage + seconds(60) + limit);
        assert_eq!(world.active(), Some(Side::A), "seed {seed}");
        assert_eq!(moves(&world, EVENT), 0, "seed {seed}");
    }
}

#[test]
fn an_upgrade_of_either_host_moves_neither_the_role_nor_the_address() {
    for seed in SEEDS {
        for side in Side::BOTH {
            for link in [true, false] {
                let lasts = Duration::from_millis(1 + seed % 150);
                let mut plan = Plan::simple(seed).with(EVENT, lasts, What::Upgrade(side));
                plan.link = link;
                let world = live(&plan, seconds(60));
                let role = |fact: &Fact| {
                    matches!(fact, Fact::Became(_, state, cause)
                        if *state == State::Master && *cause != Cause::Resumed)
                };
                assert_eq!(when(&world, EVENT, role), None, "seed {seed}, {side:?}");
                assert_eq!(world.active(), Some(Side::A), "seed {seed}, {side:?}");
                assert_eq!(moves(&world, EVENT), 0, "seed {seed}, {side:?}");
            }
        }
    }
}

#[test]
fn an_upgrade_that_takes_too_long_leaves_one_active_host_in_the_end() {
    for seed in SEEDS {
        let lasts = Duration::from_millis(300 + 40 * (seed % 100));
        let plan = Plan::simple(seed).with(EVENT, lasts, What::Upgrade(Side::A));
        let world = live(&plan, seconds(60));
        assert_eq!(world.active(), Some(Side::A), "seed {seed}");
    }
}
