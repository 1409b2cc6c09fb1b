use proptest::prelude::*;

use super::*;
use crate::acme::MOST_ORDERS_AN_HOUR;

const MINUTE: Duration = Duration::from_secs(60);

fn day(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(20_000 * 86_400)
        + DAY * u32::try_from(days).unwrap_or(0)
}

fn ninety_days() -> Validity {
    Validity {
        not_before: day(0),
        not_after: day(90),
    }
}

const FAILED: OrderOutcome = OrderOutcome::Refused { retry_after: None };

fn attempt(renewal: &mut Renewal, now: SystemTime, outcome: OrderOutcome) {
    assert_eq!(renewal.step(now), Step::Order);
    renewal.began(now);
    renewal.ended(outcome);
}

#[test]
fn without_a_certificate_one_is_ordered_at_once() {
    let mut renewal = Renewal::new(0, None, OrderRecord::default());
    assert_eq!(renewal.step(day(0)), Step::Order);
}

#[test]
fn it_is_renewed_at_two_thirds_of_its_lifetime_or_a_little_before() {
    let at =
        |seed| Renewal::new(seed, Some(ninety_days()), OrderRecord::default()).order_at(day(1));
    assert_eq!(at(0), day(60));
    assert!(at(u64::MAX) > day(57) - MINUTE && at(u64::MAX) < day(57) + MINUTE);
}

#[test]
fn the_directorys_window_comes_before_the_age() {
    let mut renewal = Renewal::new(1 << 63, Some(ninety_days()), OrderRecord::default());
    assert_eq!(renewal.step(day(1)), Step::AskForWindow);
    let window = Window {
        start: day(10),
        end: day(12),
    };
    renewal.asked_for_window(day(1), Some(window), Some(HOUR));
    assert_eq!(renewal.order_at(day(1)), day(11));
    assert_eq!(renewal.step(day(1)), Step::Wait(day(1) + HOUR));
    assert_eq!(renewal.step(day(1) + HOUR), Step::AskForWindow);
    // The directory did not answer: the previous window stays, and the directory is asked again
    // after some hours.
    renewal.asked_for_window(day(2), None, None);
    assert_eq!(renewal.order_at(day(2)), day(11));
    assert_eq!(renewal.step(day(2)), Step::Wait(day(2) + ASK_AGAIN));
}

#[test]
fn a_window_in_the_past_is_an_order_at_once_and_one_at_the_end_leaves_time() {
    let mut renewal = Renewal::new(0, Some(ninety_days()), OrderRecord::default());
    let [start, end] = [day(0), day(1)];
    renewal.asked_for_window(day(2), Some(Window { start, end }), None);
    assert_eq!(renewal.step(day(2)), Step::Order);
    let [start, end] = [day(90), day(91)];
    renewal.asked_for_window(day(2), Some(Window { start, end }), None);
    assert_eq!(renewal.order_at(day(2)), day(81));
}

#[test]
fn waits_after_failures_double_to_a_day() {
    let mut renewal = Renewal::new(0, None, OrderRecord::default());
    let mut now = day(0);
    let mut waits = Vec::new();
    for _ in 0..9 {
        attempt(&mut renewal, now, FAILED);
        let Step::Wait(until) = renewal.step(now) else {
            panic!("no wait after a failure");
        };
        waits.push(until.duration_since(now).expect("later").as_secs() / 60);
        now = until;
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 1440, 1440]);
}

#[test]
fn retry_after_is_kept_also_after_a_restart() {
    let mut renewal = Renewal::new(0, None, OrderRecord::default());
    let retry_after = Some(day(3));
    attempt(&mut renewal, day(0), OrderOutcome::Refused { retry_after });
    assert_eq!(renewal.step(day(1)), Step::Wait(day(3)));
    let mut restarted = Renewal::new(0, None, renewal.record().clone());
    assert_eq!(restarted.step(day(1)), Step::Wait(day(3)));
}

#[test]
fn an_operator_need_not_wait_but_for_the_limit_of_an_hour() {
    let mut renewal = Renewal::new(0, Some(ninety_days()), OrderRecord::default());
    for minute in 0..4 {
        let now = day(1) + MINUTE * minute;
        assert_eq!(renewal.request_now(now), Ok(()));
        attempt(&mut renewal, now, FAILED);
    }
    let now = day(1) + MINUTE * 5;
    assert_eq!(renewal.request_now(now), Err(day(1) + HOUR));
    assert!(matches!(
        renewal.step(now),
        Step::Wait(_) | Step::AskForWindow
    ));
    assert_eq!(renewal.request_now(day(1) + HOUR), Ok(()));
}

#[test]
fn a_clock_that_is_set_back_is_not_waited_for() {
    let mut renewal = Renewal::new(0, None, OrderRecord::default());
    attempt(&mut renewal, day(400), FAILED);
    let Step::Wait(until) = renewal.step(day(1)) else {
        panic!("no wait after a failure");
    };
    assert!(until <= day(1) + FIRST_WAIT);
    assert_eq!(renewal.step(until), Step::Order);
}

#[test]
fn a_damaged_record_is_survived() {
    let record = OrderRecord {
        failures: u32::MAX,
        unreachable: true,
        began: vec![u64::MAX; 9],
        peer_began: vec![u64::MAX; 9],
        retry_after: Some(u64::MAX),
        window: Some(Suggestion {
            certificate: 0,
            start: u64::MAX,
            end: 0,
        }),
    };
    let mut renewal = Renewal::new(u64::MAX, Some(ninety_days()), record);
    _ = renewal.step(day(100));
    renewal.began(day(100));
    renewal.ended(FAILED);
    assert_eq!(renewal.record().began.len(), MOST_ORDERS_AN_HOUR);
}

/// How the directory behaves during a part of the simulated time.
#[derive(Clone, Copy, Debug)]
enum Directory {
    Works,
    Down,
    Refuses,
    Limits,
}

fn directory() -> impl Strategy<Value = (Directory, u32)> {
    let kind = prop_oneof![
        Just(Directory::Works),
        Just(Directory::Down),
        Just(Directory::Refuses),
        Just(Directory::Limits),
    ];
    (kind, 1..600_u32)
}

struct World {
    now: SystemTime,
    began: Vec<SystemTime>,
    valid_until: SystemTime,
    lifetime: Duration,
}

impl World {
    /// Carries out what the state machine of the renewal says, and lets time pass, until `end`. If
    /// `orders` is set, an operator requests a certificate before each step of the state machine.
    fn run(&mut self, renewal: &mut Renewal, directory: Directory, end: SystemTime, orders: bool) {
        while self.now < end {
            if orders {
                _ = renewal.request_now(self.now);
            }
            let next = match renewal.step(self.now) {
                Step::Wait(until) => {
                    assert!(until > self.now, "a wait that is over");
                    until
                }
                Step::AskForWindow => {
                    renewal.asked_for_window(self.now, None, None);
                    continue;
                }
                Step::Claim => panic!("a host that is alone asks nobody"),
                Step::Order => {
                    self.began.push(self.now);
                    renewal.began(self.now);
                    // An agent would write the order record to disk here. The order itself takes
                    // ten seconds.
                    self.now += Duration::from_secs(10);
                    renewal.ended(self.outcome(directory));
                    continue;
                }
            };
            let most = if orders { MINUTE } else { DAY };
            self.now = next.min(self.now + most);
        }
    }

    fn outcome(&mut self, directory: Directory) -> OrderOutcome {
        match directory {
            Directory::Works => {
                self.valid_until = self.now + self.lifetime;
                OrderOutcome::Issued(Validity {
                    not_before: self.now - HOUR,
                    not_after: self.valid_until,
                })
            }
            Directory::Down => OrderOutcome::Unreachable { retry_after: None },
            Directory::Refuses => FAILED,
            Directory::Limits => OrderOutcome::Refused {
                retry_after: Some(self.now + 3 * HOUR),
            },
        }
    }
}

proptest! {
    /// Simulates weeks of a directory that works, is down, refuses or limits, with restarts: no
    /// hour has more orders than the limit, whatever operators request.
    #[test]
    fn no_hour_has_more_orders_than_the_limit(
        seed: u64,
        days in prop_oneof![Just(6_u32), Just(45), Just(90)],
        parts in prop::collection::vec((directory(), any::<bool>()), 1..6),
        impatient: bool,
    ) {
        let mut world = World {
            now: day(0),
            began: Vec::new(),
            valid_until: day(0),
            lifetime: DAY * days,
        };
        let mut renewal = Renewal::new(seed, None, OrderRecord::default());
        for ((directory, hours), restarts) in parts {
            let hours = if impatient { hours % 24 + 1 } else { hours };
            let end = world.now + HOUR * hours;
            world.run(&mut renewal, directory, end, impatient);
            if restarts {
                let certificate = renewal.certificate;
                renewal = Renewal::new(seed, certificate, renewal.record().clone());
            }
        }
        for window in world.began.windows(MOST_ORDERS_AN_HOUR + 1) {
            // Orders are recorded in whole seconds, so the time between two recorded orders may be
            // up to a second too short.
            let span = window[MOST_ORDERS_AN_HOUR].duration_since(window[0]).expect("in order");
            prop_assert!(span + Duration::from_secs(1) >= HOUR, "{MOST_ORDERS_AN_HOUR} and one in {span:?}");
        }
    }

    /// Whatever part of a certificate's lifetime the directory is down or refuses, except the last
    /// tenth: the certificate is renewed before it expires.
    #[test]
    fn it_is_renewed_in_time_if_the_directory_works_in_time(
        seed: u64,
        days in prop_oneof![Just(6_u32), Just(45), Just(90)],
        (directory, _) in directory(),
        tenths in 0..=9_u32,
    ) {
        let lifetime = DAY * days;
        let mut world = World { now: day(0), began: Vec::new(), valid_until: day(0), lifetime };
        let mut renewal = Renewal::new(seed, None, OrderRecord::default());
        world.run(&mut renewal, Directory::Works, day(0) + HOUR, false);
        let first = world.valid_until;
        let end = day(0) + lifetime * tenths / 10;
        world.run(&mut renewal, directory, end, false);
        world.run(&mut renewal, Directory::Works, first - MINUTE, false);
        prop_assert!(world.valid_until > first, "not renewed before it ended");
    }
}
