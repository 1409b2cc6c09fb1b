//! Simulates the renewal of a certificate by two hosts for months, with failures of the link
//! between them, role changes, restarts and a directory that is down.

use proptest::prelude::*;

use super::*;
use world::{Directory, Happening, World, day, happening, pause, world};

mod world;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever happens, [`World::step`] sees no order of a standby and no overlapping orders while
    /// the link between the two hosts' agents is up; the hourly limit holds for both hosts
    /// together; and once that link is up and one host is active, both hosts get the same
    /// certificate.
    #[test]
    fn two_hosts_order_as_one(
        mut world in world(),
        script in prop::collection::vec((pause(), happening()), 1..60),
    ) {
        for (pause, happening) in script {
            world.run(pause);
            world.happens(happening);
        }
        world.happens(Happening::Directory(Directory::Works));
        world.happens(Happening::Link(true));
        world.happens(Happening::Active(1));
        world.run(2 * DAY);
        world.assert_limit();
        let [one, other] = &world.hosts;
        prop_assert!(one.certificate.is_some() && one.certificate == other.certificate);
    }

    /// Events follow each other within minutes, and operators request renewals again and again: no
    /// hour has more orders than the limit.
    #[test]
    fn no_hour_has_more_orders_than_the_limit(
        mut world in world(),
        script in prop::collection::vec((0..400_u64, happening()), 1..200),
    ) {
        for (seconds, happening) in script {
            world.happens(Happening::Request(0));
            world.happens(Happening::Request(1));
            world.run(Duration::from_secs(seconds));
            world.happens(happening);
        }
        world.assert_limit();
    }

    /// The directory works most of the time; roles change, the link between the hosts is down for
    /// days and agents restart. No served certificate ever expires.
    #[test]
    fn no_certificate_runs_out_where_the_directory_works_most_of_the_time(
        seed: u64,
        script in prop::collection::vec((1..5_u64, 1..12_u64, 0..8_usize), 10..40),
    ) {
        let mut world = World::new(seed, SECOND / 10, MINUTE, DAY * 90);
        world.run(DAY);
        prop_assert_eq!(world.began.len(), 1);
        for (up, down, what) in script {
            world.happens(Happening::Directory(Directory::Works));
            world.run(DAY * u32::try_from(up)?);
            match what {
                0 | 1 => world.happens(Happening::Active(what)),
                2 | 3 => world.happens(Happening::Restart(what - 2)),
                4 => world.happens(Happening::Link(false)),
                5 => world.happens(Happening::Directory(Directory::Refuses)),
                _ => world.happens(Happening::Directory(Directory::Down)),
            }
            world.run(DAY * u32::try_from(down)?);
            world.happens(Happening::Link(true));
        }
        world.assert_limit();
        let expired = world.hosts.iter().map(|host| host.expired).max();
        prop_assert_eq!(expired, Some(Duration::ZERO));
    }
}

#[test]
fn weeks_without_a_directory_cost_nothing_while_the_certificate_lasts() {
    let mut world = World::new(7, SECOND / 10, MINUTE, DAY * 90);
    world.run(DAY * 50);
    let first = world.hosts[0].certificate;
    assert!(first.is_some() && world.hosts[1].certificate == first);
    let orders = world.began.len();
    // Five weeks pass with the directory down, a role change and a restart each week.
    world.happens(Happening::Directory(Directory::Down));
    for index in [1, 0, 1, 0, 1] {
        world.run(DAY * 7);
        world.happens(Happening::Active(index));
        world.happens(Happening::Restart(1 - index));
        assert_eq!(world.hosts[index].certificate, first, "it serves on");
        assert_eq!(world.hosts[index].expired, Duration::ZERO);
    }
    // From the time at which the certificate is due for renewal, after two thirds of its lifetime,
    // at most one order begins in an hour.
    let tries = world.began.len() - orders;
    assert!((24..=24 * 28).contains(&tries), "{tries} orders");
    // The state of the certificate fulfils the condition of the alerts in deploy/prometheus/rules:
    // its renewal is overdue.
    let overdue = world.now.duration_since(world.hosts[1].renewal.renew_at());
    assert!(overdue.is_ok_and(|overdue| overdue > DAY));
    let left = world.hosts[1].renewal.certificate.map(|one| one.not_after);
    let left = left.and_then(|end| end.duration_since(world.now).ok());
    assert!(left.is_some_and(|left| left < 14 * DAY));
    let record = world.hosts[1].renewal.record();
    assert!(record.unreachable && record.failures as usize == tries);
    world.happens(Happening::Directory(Directory::Works));
    world.run(HOUR + HOUR / 4);
    assert_eq!(
        world.began.len(),
        orders + tries + 1,
        "one order, and it is the last"
    );
    let second = world.hosts[1].certificate;
    assert!(second > first && world.hosts[0].certificate == second);
    world.run(DAY * 30);
    assert_eq!(world.began.len(), orders + tries + 1);
    world.assert_limit();
}

#[test]
fn the_host_that_began_goes_on_when_the_role_moves_and_the_other_waits_for_it() {
    let mut world = World::new(7, SECOND / 10, MINUTE * 2, DAY * 90);
    world.run(MINUTE);
    assert!(world.hosts[0].order.is_some());
    world.happens(Happening::Active(1));
    world.run(MINUTE * 10);
    assert_eq!(world.began.len(), 1);
    assert!(world.hosts[1].certificate.is_some());
    assert_eq!(world.hosts[0].certificate, world.hosts[1].certificate);
}

#[test]
fn the_new_active_host_orders_by_itself_where_the_one_that_began_is_gone() {
    let mut world = World::new(7, SECOND / 10, MINUTE * 2, DAY * 90);
    world.run(MINUTE);
    assert!(
        world.hosts[0].order.take().is_some(),
        "it dies with its host"
    );
    world.hosts[0].wakes = day(1000);
    world.happens(Happening::Link(false));
    world.hosts[0].wakes = day(1000);
    world.set_role(1, HostRole::Active);
    world.run(MINUTE * 4);
    assert_eq!(world.began.len(), 2);
    assert!(world.hosts[1].certificate.is_some());
}
