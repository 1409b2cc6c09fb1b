use std::{collections::HashMap, sync::Barrier, thread};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::config::Percent;

const SECOND: Duration = Duration::from_secs(1);

fn rules(failures: u32, max_ejected: u8) -> Outlier {
    Outlier {
        consecutive_failures: failures,
        statuses: vec![500..=500],
        ejection_time: 10 * SECOND,
        max_ejection_time: 45 * SECOND,
        max_ejected: Percent::new(max_ejected),
    }
}

struct Pool {
    outliers: Outliers,
    records: Vec<Arc<FailureRecord>>,
    up: Vec<bool>,
}

impl Pool {
    fn of(backends: u8) -> Self {
        let outliers = Outliers::default();
        let addresses = (0..backends).map(|last| SocketAddr::from(([10, 0, 0, last], 80)));
        Self {
            records: addresses.map(|address| outliers.record(address)).collect(),
            outliers,
            up: vec![true; usize::from(backends)],
        }
    }

    fn fail(&self, backend: usize, rules: &Outlier, now: Instant) -> Option<Ejection> {
        let record = &self.records[backend];
        self.outliers.failed(record, rules, || self.states(), now)
    }

    fn states(&self) -> Vec<(Arc<FailureRecord>, bool)> {
        self.records.iter().cloned().zip(self.up.clone()).collect()
    }

    /// Lets requests at the backend with this index fail until it is ejected, and returns for how
    /// long.
    fn eject(&self, backend: usize, rules: &Outlier, now: Instant) -> Option<Duration> {
        let failures = 0..rules.consecutive_failures;
        failures.fold(None, |_, _| {
            self.fail(backend, rules, now).map(|it| it.time)
        })
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_resets_their_count() {
    let (pool, rules, now) = (Pool::of(3), rules(3, 50), Instant::now());
    for _ in 0..5 {
        assert_eq!(pool.fail(0, &rules, now), None);
        assert_eq!(pool.fail(0, &rules, now), None);
        pool.records[0].succeeded();
    }
    assert!(!pool.records[0].is_ejected(now));
    let ejection = Ejection {
        time: 10 * SECOND,
        failures: 3,
        ejections: 1,
    };
    assert_eq!(pool.eject(0, &rules, now), Some(ejection.time));
    let end = now + 10 * SECOND;
    assert!(pool.records[0].is_ejected(end - SECOND / 1000));
    assert!(!pool.records[0].is_ejected(end));
    // Failures before the first ejection do not count towards the second one.
    assert_eq!(pool.fail(0, &rules, now + SECOND), None);
    assert_eq!(pool.fail(0, &rules, end), None);
    assert_eq!(pool.fail(0, &rules, end), None);
    let again = pool.fail(0, &rules, end).expect("three in a row");
    assert_eq!((again.failures, again.ejections), (3, 2));
}

#[test]
fn ejections_in_a_row_last_longer_up_to_the_longest() {
    let (pool, rules) = (Pool::of(3), rules(1, 50));
    let mut now = Instant::now();
    for seconds in [10, 20, 30, 40, 45, 45] {
        let time = pool.eject(0, &rules, now);
        assert_eq!(time, Some(seconds * SECOND));
        now += seconds * SECOND;
    }
    // Six ejections in a row were counted. Each ten seconds without an ejection reduce that number
    // by one.
    now += 45 * SECOND;
    assert_eq!(pool.eject(0, &rules, now), Some(30 * SECOND));
    now += 30 * SECOND + 3600 * SECOND;
    assert_eq!(pool.eject(0, &rules, now), Some(10 * SECOND));
}

#[test]
fn the_last_backend_and_more_than_the_share_are_not_ejected() {
    let now = Instant::now();
    let ejected = |pool: &Pool, rules: &Outlier| {
        let backends = 0..pool.records.len();
        backends
            .filter(|backend| pool.eject(*backend, rules, now).is_some())
            .count()
    };
    assert_eq!(ejected(&Pool::of(1), &rules(1, 100)), 0);
    assert_eq!(ejected(&Pool::of(2), &rules(1, 1)), 1);
    assert_eq!(ejected(&Pool::of(4), &rules(1, 1)), 1);
    assert_eq!(ejected(&Pool::of(4), &rules(1, 50)), 2);
    assert_eq!(ejected(&Pool::of(5), &rules(1, 50)), 2);
    assert_eq!(ejected(&Pool::of(5), &rules(1, 100)), 4);
    // A backend that is down cannot replace the backend that would be ejected.
    let mut pool = Pool::of(3);
    pool.up = vec![true, false, false];
    assert_eq!(pool.eject(0, &rules(1, 100), now), None);
    pool.up[2] = true;
    assert!(pool.eject(0, &rules(1, 100), now).is_some());
}

#[test]
fn workers_that_see_failures_at_once_decide_one_after_another() {
    const WORKERS: usize = 4;
    let (rules, now) = (rules(1, 50), Instant::now());
    let pools: Vec<_> = (0..200).map(|_| Pool::of(4)).collect();
    let start = Barrier::new(WORKERS);
    let (deciding, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (pools, rules, start) = (&pools, &rules, &start);
            let (deciding, most) = (&deciding, &most);
            scope.spawn(move || {
                for pool in pools {
                    start.wait();
                    let states = || {
                        most.fetch_max(deciding.fetch_add(1, Relaxed) + 1, Relaxed);
                        // This gives other threads time to decide about an ejection at the same
                        // time. If they do, `most`, the highest number of concurrent decisions,
                        // exceeds 1.
                        (0..4).for_each(|_| thread::yield_now());
                        deciding.fetch_sub(1, Relaxed);
                        pool.states()
                    };
                    let record = &pool.records[worker];
                    pool.outliers.failed(record, rules, states, now);
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    for pool in &pools {
        let ejected = pool.records.iter().filter(|one| one.is_ejected(now));
        assert_eq!(ejected.count(), 2);
    }
}

/// A model of the documented rules of ejection, computed from the complete history of each backend.
struct Model {
    rules: Outlier,
    /// For each backend: the results of its requests since its last ejection, or since the start.
    seen: Vec<Vec<bool>>,
    ejections: HashMap<usize, Vec<(Instant, Instant, u32)>>,
}

impl Model {
    fn is_ejected(&self, backend: usize, now: Instant) -> bool {
        let ejections = self.ejections.get(&backend);
        ejections.is_some_and(|all| all.iter().any(|(from, to, _)| *from <= now && now < *to))
    }

    fn fail(&mut self, backend: usize, now: Instant) -> Option<Duration> {
        if self.is_ejected(backend, now) {
            return None;
        }
        self.seen[backend].push(false);
        let in_a_row = self.seen[backend].iter().rev().take_while(|good| !**good);
        let backends = 0..self.seen.len();
        let out = backends
            .filter(|other| self.is_ejected(*other, now))
            .count();
        let may = self.rules.max_ejected.of(self.seen.len()).max(1);
        if in_a_row.count() < self.rules.consecutive_failures as usize
            || out >= may
            || out + 1 >= self.seen.len()
        {
            return None;
        }
        self.seen[backend].clear();
        let before = self.ejections.entry(backend).or_default();
        let times = before.last().map_or(0, |(_, to, times)| {
            let quiet = now.duration_since(*to).as_secs() / self.rules.ejection_time.as_secs();
            times.saturating_sub(u32::try_from(quiet).expect("not so long"))
        }) + 1;
        let time = (self.rules.ejection_time * times).min(self.rules.max_ejection_time);
        before.push((now, now + time, times));
        Some(time)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Fail(usize),
    Succeed(usize),
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..5_usize).prop_map(Step::Fail),
        1 => (0..5_usize).prop_map(Step::Succeed),
        1 => (1..40_u32).prop_map(Step::Wait),
    ];
    vec(step, 1..300)
}

proptest! {
    #[test]
    fn whatever_happens_it_is_as_documented(
        steps in steps(),
        failures in 1..5_u32,
        max_ejected in 1..=100_u8,
        backends in 1..6_u8,
    ) {
        let pool = Pool::of(backends);
        let mut model = Model {
            rules: rules(failures, max_ejected),
            seen: vec![Vec::new(); pool.records.len()],
            ejections: HashMap::new(),
        };
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Fail(backend) => {
                    let backend = backend % pool.records.len();
                    let ejection = pool.fail(backend, &model.rules, now);
                    prop_assert_eq!(ejection.map(|it| it.time), model.fail(backend, now));
                }
                Step::Succeed(backend) => {
                    let backend = backend % pool.records.len();
                    pool.records[backend].succeeded();
                    model.seen[backend].push(true);
                }
                Step::Wait(seconds) => now += seconds * SECOND,
            }
            let out = pool.records.iter().filter(|one| one.is_ejected(now)).count();
            prop_assert!(out < pool.records.len(), "one is always there");
        }
    }
}
