//! Draws the plan of a simulated run, which is the settings of the pair and the troubles, from a
//! seed.

use std::time::Duration;

use lb_ha::{
    pair::Arbiter,
    vrrp::{self, Version},
};

use crate::{
    chance::Chance,
    plan::{Holder, HostPlan, Plan, Side, Trouble, What},
};

/// Returns the plan of a simulated run (the settings of the pair, and the troubles) that is drawn
/// from this seed.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut chance = Chance::seeded(seed);
    let (version, interval) = timing(&mut chance);
    let priorities = priorities(&mut chance);
    let preempt = chance.percent(70);
    let link = chance.percent(80);
    let host = |side: Side| {
        let patient = chance.percent(15);
        HostPlan {
            vrrp: vrrp::Settings {
                priority: priorities[side.index()],
                interval,
                version,
                preempt: preempt != chance.percent(10),
                preempt_delay: if patient {
                    chance.millis(500, 8000)
                } else {
                    Duration::ZERO
                },
                address: side.address(),
            },
            handover: chance.millis(200, 5000),
            start: chance.millis(0, 3000),
            checked: chance.millis(50, 3000),
            synced: chance.millis(100, 6000),
            quiet: (!chance.percent(15)).then(|| chance.millis(1, 6000)),
        }
    };
    let hosts = Side::BOTH.map(host);
    let mut plan = Plan {
        seed: chance.number(),
        hosts,
        link,
        arbiter: if chance.percent(85) {
            Arbiter::Ec2
        } else {
            Arbiter::None
        },
        holder: chance.pick(&[
            Holder::Host(Side::A),
            Holder::Host(Side::B),
            Holder::Nobody,
            Holder::Stranger,
        ]),
        troubles: Vec::new(),
        healed: Duration::ZERO,
    };
    troubles(&mut plan, &mut chance);
    // The partition is drawn from another generator, so that plans without one stay as they were
    // before partitions were added to the simulation.
    let mut rare = Chance::seeded(!seed);
    if rare.percent(5) {
        long_partition(&mut plan, &mut rare);
    }
    plan
}

fn timing(chance: &mut Chance) -> (Version, Duration) {
    match chance.below(10) {
        0..4 => (Version::V3, Duration::from_millis(100)),
        4..6 => (Version::V3, Duration::from_millis(250)),
        6..8 => (Version::V3, Duration::from_secs(1)),
        _ => (Version::V2, Duration::from_secs(1)),
    }
}

fn priorities(chance: &mut Chance) -> [u8; 2] {
    match chance.below(4) {
        0 => [100, 100],
        1 => [100, 110],
        2 => [110, 100],
        _ => [1, 2].map(|_| u8::try_from(1 + chance.below(254)).unwrap_or(1)),
    }
}

/// Adds three to ten troubles, such as lost adverts or a crash, to the plan of a run, some of them
/// present at the same time.
fn troubles(plan: &mut Plan, chance: &mut Chance) {
    // In a third of the runs the EC2 API is always healthy: for such runs the bounds are exact.
    let api = chance.percent(65);
    let count = 3 + chance.below(8);
    let mut at = chance.millis(0, 20_000);
    for _ in 0..count {
        let trouble = Trouble {
            at,
            lasts: lasts(chance),
            what: what(api, chance),
        };
        plan.healed = plan.healed.max(trouble.at + trouble.lasts);
        plan.troubles.push(trouble);
        at += match chance.below(4) {
            0 => chance.millis(0, 500),
            1 => chance.millis(0, 5000),
            _ => chance.millis(1000, 20_000),
        };
    }
    if chance.percent(40) {
        upgrades(plan, chance);
    }
    // A trouble without a duration still has consequences for a moment.
    plan.healed += Duration::from_secs(1);
}

/// Adds one to four upgrades of agents to the plan of a run, at any time between its other
/// troubles. Some upgrades take longer than the other host waits before it takes over.
fn upgrades(plan: &mut Plan, chance: &mut Chance) {
    let end = u64::try_from(plan.healed.as_millis()).unwrap_or(u64::MAX);
    for _ in 0..1 + chance.below(4) {
        let trouble = Trouble {
            at: chance.millis(0, end),
            lasts: if chance.percent(80) {
                chance.millis(1, 100)
            } else {
                chance.millis(100, 5000)
            },
            what: What::Upgrade(chance.pick(&Side::BOTH)),
        };
        plan.healed = plan.healed.max(trouble.at + trouble.lasts);
        plan.troubles.push(trouble);
    }
}

/// Adds a network partition to the plan of a run: the hosts are cut off from each other for
/// minutes, in both directions or in one. First one of the hosts does not reach the EC2 API, then
/// the other one.
fn long_partition(plan: &mut Plan, chance: &mut Chance) {
    let at = chance.millis(2000, 40_000);
    let first = chance.millis(20_000, 120_000);
    let second = chance.millis(20_000, 120_000);
    let side = chance.pick(&Side::BOTH);
    let cut = What::Cut {
        from: chance.pick(&[[true, true], [true, true], [true, false], [false, true]]),
        adverts: true,
        link: true,
    };
    let troubles = [
        (at, first + second, cut),
        (at, first, What::ApiUnreachable(side)),
        (at + first, second, What::ApiUnreachable(side.other())),
    ];
    for (at, lasts, what) in troubles {
        plan.healed = plan.healed.max(at + lasts + Duration::from_secs(1));
        plan.troubles.push(Trouble { at, lasts, what });
    }
}

fn lasts(chance: &mut Chance) -> Duration {
    match chance.below(5) {
        0 => chance.millis(1, 400),
        1 => chance.millis(200, 2000),
        2 | 3 => chance.millis(1000, 15_000),
        _ => chance.millis(5000, 50_000),
    }
}

fn what(api: bool, chance: &mut Chance) -> What {
    let side = chance.pick(&Side::BOTH);
    match chance.below(if api { 24 } else { 18 }) {
        0 | 1 => What::Cut {
            from: [true; 2],
            adverts: true,
            link: true,
        },
        2 => What::Cut {
            from: chance.pick(&[[true, false], [false, true]]),
            adverts: true,
            link: true,
        },
        3 => {
            let adverts = chance.percent(50);
            What::Cut {
                from: chance.pick(&[[true, false], [false, true], [true, true]]),
                adverts,
                link: !adverts,
            }
        }
        4 => What::Loss(chance.pick(&[5, 20, 50, 80])),
        5 => What::Delay(chance.millis(5, 400)),
        6 => What::Duplicates(chance.pick(&[10, 60])),
        7 => What::LinkReset,
        8 | 9 => What::Crash {
            side,
            power: chance.percent(50),
        },
        10 => What::Pause(side),
        11 => What::ClockJump {
            side,
            by: chance.millis(50, 60_000),
        },
        12 => What::Fault(side),
        13 => What::Weight {
            side,
            weight: chance.pick(&[-50, -10, -5, 5, 10, 60]),
        },
        14 => What::HandOver(side),
        15 => What::Stop(side),
        16 => What::Reconfigure {
            side,
            priority: chance.pick(&[90, 100, 110, 200]),
            preempt: chance.percent(60),
        },
        17 => What::Isolated(side),
        18 => What::ApiSlow(chance.millis(200, 6500)),
        19 => What::ApiStale(chance.millis(100, 5000)),
        20 => What::ApiThrottled(chance.pick(&[30, 90, 100])),
        21 => What::ApiFails(chance.pick(&[20, 80, 100])),
        22 => What::ApiUnreachable(side),
        _ => What::MovedByHand(chance.pick(&[
            Holder::Host(Side::A),
            Holder::Host(Side::B),
            Holder::Stranger,
            Holder::Nobody,
        ])),
    }
}
