//! Tests of troubles of the EC2 API, and of Elastic IPs that a person moves by hand.

use super::*;

#[test]
fn an_address_that_somebody_moved_comes_back_with_one_move() {
    for seed in SEEDS {
        for holder in [Holder::Host(Side::B), Holder::Stranger, Holder::Nobody] {
            let plan = calm(seed).with(EVENT, seconds(1), What::MovedByHand(holder));
            let world = live(&plan, EVENT + seconds(60));
            is_calm(&world, Side::A);
            // The Elastic IP moved twice: by hand, and then back to host A by the pair.
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
        // One more association is allowed if an answer to DescribeAddresses was that host B has the
        // Elastic IP, and the next answer was that host B has not.
        let calls = since(&world, EVENT).filter(accepted).count();
        assert!((1..=4).contains(&calls), "seed {seed}: {calls}");
    }
}
