//! Runs the health checks of backends, in one task for each backend.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{Failure, Schedule, probe};
use crate::{
    config::{Check, Pool},
    pool::BackendKey,
};

/// Maximum number of outcomes of checks that wait for the agent to take them; checks wait when
/// there are as many.
const WAITING_OUTCOMES: usize = 1024;

/// A health check that has ended.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The backend that was checked.
    pub backend: BackendKey,
    /// How long the check took.
    pub duration: Duration,
    /// Whether the backend passed the check, or why not.
    pub outcome: Result<(), Failure>,
}

/// The running health checks. Dropping this value stops them.
#[derive(Debug)]
pub struct Checks {
    running: HashMap<BackendKey, Running>,
    outcomes: mpsc::Sender<Checked>,
}

#[derive(Debug)]
struct Running {
    check: Check,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Creates a set of checks, which is empty, and the receiver of their outcomes.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Checked>) {
        let (outcomes, receiver) = mpsc::channel(WAITING_OUTCOMES);
        let checks = Self {
            running: HashMap::new(),
            outcomes,
        };
        (checks, receiver)
    }

    /// Makes these pools' backends the ones that are checked. A backend whose check is unchanged
    /// keeps its schedule. Must be called within a tokio runtime.
    pub fn apply(&mut self, pools: &[Arc<Pool>]) {
        let wanted = checked_backends(pools);
        let count = wanted.len();
        let mut before = std::mem::take(&mut self.running);
        for (index, (id, check)) in wanted.into_iter().enumerate() {
            let kept = before.remove(&id).filter(|running| running.check == *check);
            let running = kept.unwrap_or_else(|| {
                let schedule = Schedule::new(check.interval, index, count);
                self.start(id.clone(), check.clone(), schedule)
            });
            self.running.insert(id, running);
        }
    }

    fn start(&self, id: BackendKey, check: Check, schedule: Schedule) -> Running {
        let outcomes = self.outcomes.clone();
        let task = tokio::spawn(check_for_ever(id, check.clone(), schedule, outcomes));
        Running { check, task }
    }
}

/// Returns the backends of these pools that have a health check, each with its check, in the order
/// of the pools.
pub(super) fn checked_backends(pools: &[Arc<Pool>]) -> Vec<(BackendKey, &Check)> {
    let checked = pools
        .iter()
        .filter_map(|pool| Some((pool, pool.check.as_ref()?)));
    let backends = checked.flat_map(|(pool, check)| {
        pool.backends
            .iter()
            .map(move |backend| (BackendKey::of(pool, backend), check))
    });
    backends.collect()
}

async fn check_for_ever(
    backend: BackendKey,
    check: Check,
    schedule: Schedule,
    outcomes: mpsc::Sender<Checked>,
) {
    let start = Instant::now();
    let mut next = schedule.first();
    loop {
        sleep_until(start + next).await;
        let begun = Instant::now();
        let outcome = probe(backend.address, &check).await;
        let checked = Checked {
            backend: backend.clone(),
            duration: begun.elapsed(),
            outcome,
        };
        if outcomes.send(checked).await.is_err() {
            return;
        }
        // The next check is the next one of the schedule, however long this check took. `max` is
        // for a timer that fired early: this check must not be made a second time.
        next = schedule.next_after(start.elapsed().max(next));
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};

    use super::*;
    use crate::config::{Backend, Balance, CheckKind, Name, Weight, WhenAllDown};

    const PATIENCE: Duration = Duration::from_secs(5);

    fn pool(addresses: &[std::net::SocketAddr], interval: Duration) -> Arc<Pool> {
        let backends = addresses.iter().map(|address| Backend {
            name: Name::parse(&address.to_string()).expect("a name"),
            address: *address,
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        });
        Arc::new(Pool {
            name: Name::parse("web").expect("a name"),
            balance: Balance::RoundRobin,
            check: Some(Check {
                kind: CheckKind::Http {
                    path: "/".to_owned(),
                    host: None,
                    expect: 200..=299,
                },
                interval,
                timeout: interval,
                rise: 1,
                fall: 1,
            }),
            when_all_down: WhenAllDown::TryAll,
            retries: 3,
            per_request: crate::config::PerRequest::default(),
            backends: backends.collect(),
            discover: None,
        })
    }

    async fn next(outcomes: &mut mpsc::Receiver<Checked>) -> Checked {
        let checked = timeout(PATIENCE, outcomes.recv()).await;
        checked.expect("in time").expect("checks run")
    }

    /// Returns a listener whose kernel backlog takes connections, but which never replies to them.
    async fn silent() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a listener")
    }

    /// Returns an address at which nothing listens, so that connections are refused.
    async fn refusing() -> std::net::SocketAddr {
        silent().await.local_addr().expect("an address")
    }

    #[tokio::test]
    async fn a_hanging_check_delays_no_other() {
        let hanging = silent().await;
        let hung = hanging.local_addr().expect("an address");
        let refused = refusing().await;
        let interval = Duration::from_secs(2);
        let (mut checks, mut outcomes) = Checks::new();
        checks.apply(&[pool(&[hung, refused], interval)]);
        let begun = Instant::now();
        let first = next(&mut outcomes).await;
        assert_eq!(first.backend.address, refused);
        assert_eq!(first.outcome, Err(Failure::Refused));
        assert!(
            begun.elapsed() < interval,
            "it did not wait for the one that hangs"
        );
    }

    #[tokio::test]
    async fn checks_come_once_an_interval() {
        let interval = Duration::from_millis(100);
        let (mut checks, mut outcomes) = Checks::new();
        checks.apply(&[pool(&[refusing().await], interval)]);
        next(&mut outcomes).await;
        let begun = Instant::now();
        for _ in 0..5 {
            next(&mut outcomes).await;
        }
        let elapsed = begun.elapsed();
        assert!(
            elapsed >= Duration::from_millis(450),
            "too soon: {elapsed:?}"
        );
        assert!(elapsed < Duration::from_secs(2), "too late: {elapsed:?}");
    }

    #[tokio::test]
    async fn a_backend_that_left_is_checked_no_more() {
        let interval = Duration::from_millis(20);
        let (leaves, stays) = (refusing().await, refusing().await);
        let (mut checks, mut outcomes) = Checks::new();
        checks.apply(&[pool(&[leaves, stays], interval)]);
        for _ in 0..4 {
            next(&mut outcomes).await;
        }
        checks.apply(&[pool(&[stays], interval)]);
        tokio::task::yield_now().await;
        while outcomes.try_recv().is_ok() {}
        for _ in 0..10 {
            assert_eq!(next(&mut outcomes).await.backend.address, stays);
        }
    }
}
