//! Tests of upgrades of the agent.

use super::*;

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
