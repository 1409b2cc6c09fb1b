//! What the proxy counts. Each worker counts for itself; the sums are made when someone asks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{broken_off::BrokenOff, connections::Closed, message::Refusal, routed::RouteCounts};
use crate::config::Name;

/// Upper bounds of the buckets of [`Durations`], in seconds; what is longer is in the last bucket.
pub const DURATION_BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Codes that are counted: 100 to 599.
const CODES: usize = 500;

/// What the proxy counted since it started, summed over its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Requests that were answered.
    pub requests: Vec<RequestCount>,
    /// Requests whose response did not reach the client whole.
    pub broken: Vec<BrokenCount>,
    /// How long requests took, by service.
    pub durations: Vec<(Name, Durations)>,
    /// TLS handshakes that succeeded.
    pub handshakes: Vec<HandshakeCount>,
    /// TLS handshakes that failed, time-outs included, by service.
    pub handshake_failures: Vec<(Name, u64)>,
    /// Client connections open now, by service.
    pub open_connections: Vec<(Name, u64)>,
    /// Client connections that the front closed though their clients would have kept them.
    pub closed: Vec<ClosedCount>,
    /// Requests that were refused before a backend was chosen.
    pub refusals: Vec<RefusalCount>,
    /// Requests by the route that took them: service, route, how many. `default`: none took them.
    pub routed: Vec<(Name, Name, u64)>,
    /// Times that a request was sent again, by service.
    pub retries: Vec<(Name, u64)>,
    /// Connections to backends in use now.
    pub backend_connections: Vec<BackendConnections>,
    /// Panics in tasks of client connections, by service.
    pub panics: Vec<(Name, u64)>,
    /// Bytes of responses that wait for clients, and of buffers in use.
    pub buffered_bytes: u64,
}

/// Requests that ended the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestCount {
    /// The service.
    pub service: Name,
    /// The backend that answered, or failed to, and before it its pool; `None` when none was chosen.
    pub backend: Option<(Name, Name)>,
    /// The status that the client was answered with, 100 to 599.
    pub code: u16,
    /// How many.
    pub count: u64,
}

/// Requests that ended early for one reason. None of them is in [`RequestCount`].
#[derive(Clone, Debug, PartialEq)]
pub struct BrokenCount {
    /// The service.
    pub service: Name,
    /// The backend that had the request last, and before it its pool; `None` where that is not known.
    pub backend: Option<(Name, Name)>,
    /// Why, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// How long requests took, from the end of the head to the end of the response.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// Requests by bucket: one for each of [`DURATION_BOUNDS`], and one for longer ones. Not
    /// cumulative.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    /// The sum of all, in seconds.
    pub sum: f64,
}

/// TLS handshakes of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeCount {
    /// The service.
    pub service: Name,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// How many.
    pub count: u64,
}

/// Requests refused for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusalCount {
    /// The service.
    pub service: Name,
    /// Why, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Client connections closed for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedCount {
    /// The service.
    pub service: Name,
    /// Why, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// Connections to one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConnections {
    /// The service.
    pub service: Name,
    /// The backend's pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// Connections with a request under way.
    pub in_use: u64,
}

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds. There is one writer, so that a load and a store do, which cost less than a locked add.
    pub(super) fn add(&self, more: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Takes away what was added before.
    pub(super) fn sub(&self, less: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    /// What it is now.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts. Services and backends stay for good: counters never go back.
#[derive(Debug, Default)]
pub(super) struct WorkerCounters {
    /// Bytes that the worker keeps for its clients.
    pub(super) buffered: Count,
    services: Mutex<BTreeMap<Name, Arc<ServiceCounters>>>,
}

/// A backend's pool, and its name there.
type InPool = (Name, Name);

/// What one worker counts for one service.
#[derive(Debug)]
pub(super) struct ServiceCounters {
    /// By pool and name; `None` for [`Self::no_backend`].
    backends: Mutex<BTreeMap<Option<InPool>, Arc<BackendCounters>>>,
    buckets: [Count; DURATION_BOUNDS.len() + 1],
    microseconds: Count,
    /// By version (1.2, 1.3), then by whether resumed.
    handshakes: [[Count; 2]; 2],
    refusals: [Count; Refusal::ALL.len()],
    closed: [Count; Closed::ALL.len()],
    /// By route.
    routes: Mutex<BTreeMap<Name, Arc<Count>>>,
    /// Handshakes that failed.
    pub(super) handshake_failures: Count,
    /// Client connections open now.
    pub(super) open_connections: Count,
    /// Times that a request was sent again.
    pub(super) retries: Count,
    /// Panics in tasks of its client connections.
    pub(super) panics: Count,
    /// Responses for which no backend was chosen.
    pub(super) no_backend: Arc<BackendCounters>,
}

/// What one worker counts for one backend of one service.
#[derive(Debug)]
pub(super) struct BackendCounters {
    codes: [Count; CODES],
    broken: [Count; BrokenOff::ALL.len()],
    /// Connections with a request under way.
    pub(super) in_use: Count,
}

impl WorkerCounters {
    /// The counters of a service, new ones if it was never there.
    pub(super) fn service(&self, name: &Name) -> Arc<ServiceCounters> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(name.clone()).or_default())
    }
}

impl Default for ServiceCounters {
    fn default() -> Self {
        let no_backend = Arc::<BackendCounters>::default();
        Self {
            backends: Mutex::new(BTreeMap::from([(None, Arc::clone(&no_backend))])),
            buckets: Default::default(),
            microseconds: Count::default(),
            handshakes: Default::default(),
            refusals: Default::default(),
            closed: Default::default(),
            routes: Mutex::default(),
            handshake_failures: Count::default(),
            open_connections: Count::default(),
            retries: Count::default(),
            panics: Count::default(),
            no_backend,
        }
    }
}

impl Default for BackendCounters {
    fn default() -> Self {
        Self {
            codes: std::array::from_fn(|_| Count::default()),
            broken: Default::default(),
            in_use: Count::default(),
        }
    }
}

impl ServiceCounters {
    /// The counters of a backend of a pool, new ones if it was never there.
    pub(super) fn backend(&self, pool: &Name, name: &Name) -> Arc<BackendCounters> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Some((pool.clone(), name.clone()));
        Arc::clone(backends.entry(key).or_default())
    }

    /// The counters of the routes of these names, new ones for those that were never there.
    pub(super) fn route_counts(&self, names: impl Iterator<Item = Name>) -> RouteCounts {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |name: Name| Arc::clone(routes.entry(name).or_default());
        RouteCounts {
            routes: names.map(&mut count).collect(),
            default: count(Name::default_route()),
        }
    }

    /// A request took that long.
    pub(super) fn took(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].add(1);
        self.microseconds
            .add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// A request was refused.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.refusals[refusal as usize].add(1);
    }

    /// A client's connection was closed.
    pub(super) fn closed(&self, why: Closed) {
        self.closed[why as usize].add(1);
    }

    /// A handshake succeeded.
    pub(super) fn shook_hands(&self, tls13: bool, resumed: bool) {
        self.handshakes[usize::from(tls13)][usize::from(resumed)].add(1);
    }
}

impl BackendCounters {
    /// A request was answered with that status.
    pub(super) fn answered(&self, status: u16) {
        if let Some(count) = self.codes.get(usize::from(status).wrapping_sub(100)) {
            count.add(1);
        }
    }

    /// A request ended early.
    pub(super) fn broken_off(&self, reason: BrokenOff) {
        self.broken[reason as usize].add(1);
    }
}

/// Sums what the workers counted.
pub(super) fn sum(workers: &[&WorkerCounters]) -> Counters {
    let mut sums: BTreeMap<Name, ServiceSum> = BTreeMap::new();
    for worker in workers {
        let services = worker
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, service) in services.iter() {
            sums.entry(name.clone()).or_default().add(service);
        }
    }
    let mut counters = Counters {
        buffered_bytes: workers.iter().map(|worker| worker.buffered.value()).sum(),
        ..Counters::default()
    };
    for (name, sum) in sums {
        sum.report(&name, &mut counters);
    }
    counters
}

#[derive(Default)]
struct ServiceSum {
    codes: BTreeMap<(Option<InPool>, u16), u64>,
    broken: BTreeMap<(Option<InPool>, &'static str), u64>,
    in_use: BTreeMap<InPool, u64>,
    buckets: [u64; DURATION_BOUNDS.len() + 1],
    microseconds: u64,
    handshakes: [[u64; 2]; 2],
    refusals: [u64; Refusal::ALL.len()],
    closed: [u64; Closed::ALL.len()],
    routes: BTreeMap<Name, u64>,
    handshake_failures: u64,
    open_connections: u64,
    retries: u64,
    panics: u64,
}

impl ServiceSum {
    fn add(&mut self, service: &ServiceCounters) {
        let backends = service
            .backends
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, backend) in backends.iter() {
            for (code, count) in (100..).zip(&backend.codes) {
                if count.value() > 0 {
                    *self.codes.entry((name.clone(), code)).or_default() += count.value();
                }
            }
            for (reason, count) in BrokenOff::ALL.iter().zip(&backend.broken) {
                if count.value() > 0 {
                    let key = (name.clone(), reason.reason());
                    *self.broken.entry(key).or_default() += count.value();
                }
            }
            if let Some(name) = name {
                *self.in_use.entry(name.clone()).or_default() += backend.in_use.value();
            }
        }
        let routes = service
            .routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, count) in routes.iter() {
            *self.routes.entry(name.clone()).or_default() += count.value();
        }
        add_all(&mut self.buckets, &service.buckets);
        add_all(&mut self.refusals, &service.refusals);
        add_all(&mut self.closed, &service.closed);
        for (sums, counts) in self.handshakes.iter_mut().zip(&service.handshakes) {
            add_all(sums, counts);
        }
        self.microseconds += service.microseconds.value();
        self.handshake_failures += service.handshake_failures.value();
        self.open_connections += service.open_connections.value();
        self.retries += service.retries.value();
        self.panics += service.panics.value();
    }

    fn report(self, service: &Name, counters: &mut Counters) {
        for ((backend, code), count) in self.codes {
            counters.requests.push(RequestCount {
                service: service.clone(),
                backend,
                code,
                count,
            });
        }
        for ((backend, reason), count) in self.broken {
            counters.broken.push(BrokenCount {
                service: service.clone(),
                backend,
                reason,
                count,
            });
        }
        for ((pool, backend), in_use) in self.in_use {
            counters.backend_connections.push(BackendConnections {
                service: service.clone(),
                pool,
                backend,
                in_use,
            });
        }
        for (version, counts) in ["1.2", "1.3"].into_iter().zip(self.handshakes) {
            for (resumed, count) in [false, true].into_iter().zip(counts) {
                counters.handshakes.push(HandshakeCount {
                    service: service.clone(),
                    version,
                    resumed,
                    count,
                });
            }
        }
        for (closed, count) in Closed::ALL.into_iter().zip(self.closed) {
            counters.closed.push(ClosedCount {
                service: service.clone(),
                reason: closed.reason(),
                count,
            });
        }
        for (refusal, count) in Refusal::ALL.into_iter().zip(self.refusals) {
            counters.refusals.push(RefusalCount {
                service: service.clone(),
                reason: refusal.reason(),
                count,
            });
        }
        let routed = self.routes.into_iter();
        let routed = routed.map(|(route, count)| (service.clone(), route, count));
        counters.routed.extend(routed);
        let durations = Durations {
            buckets: self.buckets,
            sum: self.microseconds as f64 / 1e6,
        };
        counters.durations.push((service.clone(), durations));
        let by_service = |list: &mut Vec<(Name, u64)>, count| list.push((service.clone(), count));
        by_service(&mut counters.handshake_failures, self.handshake_failures);
        by_service(&mut counters.open_connections, self.open_connections);
        by_service(&mut counters.retries, self.retries);
        by_service(&mut counters.panics, self.panics);
    }
}

fn add_all(sums: &mut [u64], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a good name")
    }

    #[test]
    fn the_workers_counts_are_summed() {
        let workers = [WorkerCounters::default(), WorkerCounters::default()];
        for worker in &workers {
            let service = worker.service(&name("web"));
            let backend = service.backend(&name("pool"), &name("a"));
            backend.answered(200);
            backend.broken_off(BrokenOff::BackendBroke);
            service.no_backend.answered(503);
            service.took(Duration::from_millis(1));
            service.took(Duration::from_secs(99));
            service.shook_hands(true, true);
            service.refused(Refusal::Host);
        }
        let sums = sum(&workers.each_ref());
        let count = |backend: Option<&str>, code| RequestCount {
            service: name("web"),
            backend: backend.map(|backend| (name("pool"), name(backend))),
            code,
            count: 2,
        };
        assert_eq!(sums.requests, [count(None, 503), count(Some("a"), 200)]);
        let broken = BrokenCount {
            service: name("web"),
            backend: Some((name("pool"), name("a"))),
            reason: "backend_broke",
            count: 2,
        };
        assert_eq!(sums.broken, [broken]);
        let durations = &sums.durations[0].1;
        assert_eq!(durations.buckets[1], 2);
        assert_eq!(durations.buckets[DURATION_BOUNDS.len()], 2);
        assert!((durations.sum - 198.002).abs() < 1e-6);
        let resumed: Vec<_> = sums
            .handshakes
            .iter()
            .filter(|kind| kind.count > 0)
            .collect();
        assert_eq!((resumed[0].version, resumed[0].resumed), ("1.3", true));
        let refused: Vec<_> = sums.refusals.iter().filter(|kind| kind.count > 0).collect();
        assert_eq!((refused[0].reason, refused[0].count), ("host", 2));
    }

    #[test]
    fn counters_stay_when_a_service_comes_back() {
        let worker = WorkerCounters::default();
        worker.service(&name("web")).retries.add(3);
        worker.service(&name("web")).retries.add(1);
        assert_eq!(sum(&[&worker]).retries, [(name("web"), 4)]);
    }
}
