//! Tests of partitions of the network between the hosts.

use super::*;

#[test]
fn a_partition_moves_the_address_once_and_its_end_at_most_once() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(60), ALL);
        let mut world = live(&plan, EVENT + seconds(59));
        // The host that has the Elastic IP is active, and the other host has stepped back.
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
        // The host notices the silence of its peer, and steps back when it has had no confirmation
        // for three seconds that it has the Elastic IP.
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
        // At this time the hosts have been silent for long, and the other host becomes the one that
        // reaches the EC2 API.
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
        // The limit is the sum of a call that waits in vain for an answer, the pause after it, and
        // the next call.
        let limit = bounds::CALL_LIMIT + seconds(4) + CALL + bounds::MARGIN;
        go_on(&mut world, &plan, outage + seconds(60) + limit);
        assert_eq!(world.active(), Some(Side::A), "seed {seed}");
        assert_eq!(moves(&world, EVENT), 0, "seed {seed}");
    }
}
