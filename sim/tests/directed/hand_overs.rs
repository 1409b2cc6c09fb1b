//! Tests of hand-overs, in which the operator makes the active host give its role to the standby.

use super::*;

#[test]
fn an_ordered_hand_over_ends_requests_first_and_leaves_a_short_gap() {
    for seed in SEEDS {
        let plan = calm(seed).with(EVENT, seconds(1), What::HandOver(Side::A));
        let world = live(&plan, EVENT + seconds(90));
        // B keeps the role that the operator gave it, although A has the higher priority.
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
        // From the time when A begins to hold back new connections until the Elastic IP has moved,
        // no host accepts new connections.
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
