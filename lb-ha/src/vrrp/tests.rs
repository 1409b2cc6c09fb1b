use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const LOWER_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 0));
const HIGHER_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const FREE: Permissions = Permissions {
    weight: 0,
    fault: false,
    may_take: true,
    may_preempt: true,
};

fn settings(priority: u8) -> Settings {
    Settings {
        priority,
        interval: INTERVAL,
        version: Version::V3,
        preempt: true,
        preempt_delay: Duration::ZERO,
        address: OURS,
    }
}

fn at(millis: u64) -> Time {
    Time::after_start(Duration::from_millis(millis))
}

fn heard(priority: u8) -> Heard {
    Heard {
        priority,
        interval: INTERVAL,
        from: HIGHER_ADDRESS,
    }
}

/// Runs the router until `end`, waking it at its deadlines. Returns its outputs.
fn run(router: &mut Router, end: Time) -> Vec<Output> {
    let mut out = Vec::new();
    while let Some(deadline) = router.deadline().filter(|deadline| *deadline <= end) {
        router.tick(deadline, &mut out);
    }
    out
}

fn started(settings: Settings) -> Router {
    let mut router = Router::new(settings, FREE);
    router.start(at(0), &mut Vec::new());
    router
}

fn master(priority: u8) -> Router {
    let mut router = started(settings(priority));
    run(&mut router, at(400));
    assert_eq!(router.state(), State::Master);
    router
}

fn hear(router: &mut Router, now: Time, heard: Heard) -> Vec<Output> {
    let mut out = Vec::new();
    router.hear(now, heard, &mut out);
    out
}

#[test]
fn a_backup_takes_over_after_three_intervals_and_the_skew() {
    let mut router = started(settings(100));
    // The router counts the master as lost after three advert intervals of 100 ms, and a skew of
    // 156/256 of 100 ms.
    let down = Duration::from_nanos(360_937_500);
    assert_eq!(router.deadline(), Some(Time::after_start(down)));
    assert_eq!(run(&mut router, at(360)), []);
    assert_eq!(
        run(&mut router, at(361)),
        [
            Output::Advert(100),
            Output::Became(State::Master, Cause::Silence)
        ]
    );
}

#[test]
fn in_version_2_the_skew_is_a_part_of_a_second() {
    let mut settings = settings(100);
    settings.version = Version::V2;
    settings.interval = Duration::from_secs(1);
    let router = started(settings);
    assert_eq!(
        router.deadline(),
        Some(Time::after_start(Duration::from_nanos(3_609_375_000)))
    );
}

#[test]
fn a_backup_learns_the_interval_of_the_master_in_version_3_only() {
    for (version, down) in [(Version::V3, 1_200), (Version::V2, 300)] {
        let mut settings = settings(200);
        settings.version = version;
        let mut router = started(settings);
        let mut slow = heard(250);
        slow.interval = Duration::from_millis(400);
        hear(&mut router, at(0), slow);
        let skew = router.skew();
        assert_eq!(
            router.deadline(),
            Some(at(down) + skew),
            "{version:?}: {router:?}"
        );
    }
}

#[test]
fn a_goodbye_leaves_the_skew_only_and_a_second_one_does_not_put_it_off() {
    let mut router = started(settings(156));
    hear(&mut router, at(50), heard(0));
    assert_eq!(router.deadline(), Some(at(50) + router.skew()));
    hear(&mut router, at(80), heard(0));
    assert_eq!(router.deadline(), Some(at(50) + router.skew()));
    let out = run(&mut router, at(95));
    assert_eq!(out[1], Output::Became(State::Master, Cause::Goodbye));
}

#[test]
fn a_lower_priority_master_is_ignored_and_taken_over_from() {
    let mut router = started(settings(100));
    for millis in [0, 100, 200, 300] {
        hear(&mut router, at(millis), heard(99));
    }
    let out = run(&mut router, at(361));
    assert_eq!(out[1], Output::Became(State::Master, Cause::Preemption));
}

#[test]
fn a_lower_priority_master_stays_where_preemption_is_off_or_not_allowed_yet() {
    let mut never = settings(100);
    never.preempt = false;
    let mut not_yet = settings(100);
    not_yet.preempt_delay = Duration::from_secs(1);
    for (settings, taken) in [(never, false), (not_yet, true)] {
        let mut router = started(settings);
        for step in 0..8 {
            hear(&mut router, at(step * 100), heard(99));
            assert_eq!(run(&mut router, at(step * 100 + 99)), []);
        }
        for step in 8..20 {
            hear(&mut router, at(step * 100), heard(99));
            run(&mut router, at(step * 100 + 99));
        }
        assert_eq!(router.state() == State::Master, taken);
    }
}

#[test]
fn a_master_re_advertises_to_a_lower_one_and_steps_down_for_a_higher_one() {
    let mut router = master(100);
    assert_eq!(hear(&mut router, at(410), heard(99)), [Output::Advert(100)]);
    assert_eq!(
        hear(&mut router, at(420), heard(101)),
        [Output::Became(State::Backup, Cause::HigherPriority)]
    );
    assert_eq!(
        router.deadline(),
        Some(at(420) + router.master_down_interval())
    );
}

#[test]
fn of_two_masters_with_one_priority_the_higher_address_stays() {
    let mut router = master(100);
    let mut equal = heard(100);
    equal.from = LOWER_ADDRESS;
    assert_eq!(hear(&mut router, at(410), equal), [Output::Advert(100)]);
    equal.from = HIGHER_ADDRESS;
    hear(&mut router, at(420), equal);
    assert_eq!(router.state(), State::Backup);
}

#[test]
fn a_fault_says_goodbye_and_takes_no_part_until_it_is_over() {
    let mut router = master(100);
    let mut out = Vec::new();
    let fault = Permissions {
        fault: true,
        ..FREE
    };
    router.allow(at(410), fault, Cause::Fault, &mut out);
    assert_eq!(
        out,
        [
            Output::Advert(0),
            Output::Became(State::Fault, Cause::Fault)
        ]
    );
    assert_eq!(router.deadline(), None);
    assert_eq!(hear(&mut router, at(420), heard(0)), []);
    out.clear();
    router.allow(at(500), FREE, Cause::Recovered, &mut out);
    assert_eq!(out, [Output::Became(State::Backup, Cause::Recovered)]);
    run(&mut router, at(1_000));
    assert_eq!(router.state(), State::Master);
}

#[test]
fn a_lower_priority_is_advertised_immediately_and_stays_within_its_range() {
    let mut router = master(100);
    let mut out = Vec::new();
    let lower = Permissions {
        weight: -253,
        ..FREE
    };
    router.allow(at(410), lower, Cause::Fault, &mut out);
    assert_eq!(out, [Output::Advert(1)]);
    assert_eq!(router.priority(), 1);
    assert_eq!(router.state(), State::Master);
}

#[test]
fn a_backup_that_may_not_take_over_does_so_as_soon_as_it_may() {
    let mut router = Router::new(
        settings(100),
        Permissions {
            may_take: false,
            ..FREE
        },
    );
    router.start(at(0), &mut Vec::new());
    assert_eq!(run(&mut router, at(10_000)), []);
    let mut out = Vec::new();
    router.allow(at(10_000), FREE, Cause::Silence, &mut out);
    assert_eq!(router.state(), State::Master);
    // If a master's advert arrives while the router may not take over, there is a master to wait
    // for.
    let mut router = Router::new(
        settings(100),
        Permissions {
            may_take: false,
            ..FREE
        },
    );
    router.start(at(0), &mut out);
    run(&mut router, at(10_000));
    hear(&mut router, at(10_000), heard(200));
    router.allow(at(10_001), FREE, Cause::Silence, &mut out);
    assert_eq!(router.state(), State::Backup);
}

#[test]
fn stopping_says_goodbye_from_a_master_only() {
    let mut out = Vec::new();
    master(100).stop(&mut out);
    assert_eq!(
        out,
        [
            Output::Advert(0),
            Output::Became(State::Init, Cause::Stopped)
        ]
    );
    out.clear();
    started(settings(100)).stop(&mut out);
    assert_eq!(out, [Output::Became(State::Init, Cause::Stopped)]);
}
