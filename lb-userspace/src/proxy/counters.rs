//! Counters of the HTTP front. Each worker has its own counters; readers get their sums.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::reason::Reason;
use crate::config::Name;

mod metrics;
mod sums;

pub(crate) use metrics::FAMILIES as METRICS;
pub(super) use sums::sum;

/// Upper bounds of the buckets of [`Durations`], in seconds; longer durations are in the last
/// bucket.
pub const DURATION_BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Number of status codes that are counted separately: 100 to 599.
const CODES: usize = 500;

/// The counters of the HTTP front since start, summed over its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// The number of requests that got a complete response, by service, backend and status.
    pub requests: Vec<RequestCount>,
    /// Requests whose response did not reach the client completely; they are not in
    /// [`Self::requests`].
    pub broken: Vec<ReasonCount>,
    /// Requests that the front answered itself because of what the client sent.
    pub refusals: Vec<ReasonCount>,
    /// Requests that the front answered in place of a backend for any other reason.
    pub own_answers: Vec<ReasonCount>,
    /// The distribution of the durations of requests, by service.
    pub durations: Vec<(Name, Durations)>,
    /// Number of successful TLS handshakes, by service, version and kind.
    pub handshakes: Vec<HandshakeCount>,
    /// Number of failed TLS handshakes, including those that timed out, by service and reason.
    pub handshake_failures: Vec<ReasonCount>,
    /// Number of client connections that are open now, by service.
    pub open_connections: Vec<(Name, u64)>,
    /// Number of client connections and tunnels that ended early without a request in flight, by
    /// service and reason.
    pub closed: Vec<ReasonCount>,
    /// Number of requests by service and by the route that they matched; the route is `default` if
    /// they matched none.
    pub routed: Vec<(Name, Name, u64)>,
    /// Number of retried requests, by service.
    pub retries: Vec<(Name, u64)>,
    /// Number of retries that the retry budget refused, by service.
    pub retries_refused: Vec<(Name, u64)>,
    /// Number of requests that wait for a backend now, by service.
    pub queued: Vec<(Name, u64)>,
    /// Number of requests that had to wait for a backend since start, by service.
    pub queue_waits: Vec<(Name, u64)>,
    /// Number of requests rejected because the queue was full or the wait too long, by service.
    pub queue_rejections: Vec<(Name, u64)>,
    /// Connections to backends that are in use now, and the backends' ejections.
    pub backend_connections: Vec<BackendConnections>,
    /// Number of panics in tasks of client connections, by service.
    pub panics: Vec<(Name, u64)>,
    /// Bytes of response buffers in use and of response data that waits for clients.
    pub buffered_bytes: u64,
}

/// The number of requests of a service with the same backend and status.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestCount {
    /// The service that got the requests.
    pub service: Name,
    /// The pool and name of the backend that answered or failed; `None` if no backend was chosen.
    pub backend: Option<(Name, Name)>,
    /// The status sent to the client, 100 to 599.
    pub code: u16,
    /// Number of requests with this service, backend and status.
    pub count: u64,
}

/// The number of requests or connections of a service that ended for the same reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReasonCount {
    /// The service that the clients were connected to.
    pub service: Name,
    /// The pool and name of the backend that had the request last; `None` if no backend had it.
    pub backend: Option<(Name, Name)>,
    /// The reason for which the requests or connections ended early.
    pub reason: Reason,
    /// Number of requests or connections that ended for this reason.
    pub count: u64,
}

/// The distribution of request durations, from the end of the request's head to the end of the
/// response.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// The number of requests in each bucket of [`DURATION_BOUNDS`], and last of those that took
    /// longer than the last bound. Not cumulative.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    /// Sum of the durations of all requests, in seconds.
    pub sum: f64,
}

/// The number of TLS handshakes of one service, version and kind.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeCount {
    /// The service that the clients connected to.
    pub service: Name,
    /// The TLS version: `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether these handshakes resumed a session.
    pub resumed: bool,
    /// Number of handshakes of this service, version and kind.
    pub count: u64,
}

/// The connections to one backend that one service has in use, and the backend's ejections.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConnections {
    /// The service that uses the backend.
    pub service: Name,
    /// The name of the backend's pool.
    pub pool: Name,
    /// The name of the backend.
    pub backend: Name,
    /// Number of connections with a request in flight now.
    pub in_use: u64,
    /// Number of ejections caused by requests of this service.
    pub ejections: u64,
}

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds `more` to the counter. As only one thread writes, a load and a store suffice, which
    /// cost less than an atomic addition.
    pub(super) fn add(&self, more: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Subtracts `less` from the counter.
    pub(super) fn sub(&self, less: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    /// Returns the current value of the counter.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one worker. Entries of services and backends are never removed, because counters
/// must not decrease.
#[derive(Debug, Default)]
pub(super) struct WorkerCounters {
    /// Bytes of response buffers in use and of response data that waits for clients.
    pub(super) buffered: Count,
    services: Mutex<BTreeMap<Name, Arc<ServiceCounters>>>,
}

/// The pool and the name of a backend.
type InPool = (Name, Name);

/// The counters of one worker for one service.
#[derive(Debug)]
pub(super) struct ServiceCounters {
    /// The counters of each backend, by its pool and name. The entry of [`Self::no_backend`] has
    /// the key `None`.
    backends: Mutex<BTreeMap<Option<InPool>, Arc<BackendCounters>>>,
    buckets: [Count; DURATION_BOUNDS.len() + 1],
    microseconds: Count,
    /// Number of successful TLS handshakes, by version (1.2, 1.3), then by whether a session was
    /// resumed (no, yes).
    handshakes: [[Count; 2]; 2],
    /// Number of requests that matched each route, by the route's name.
    pub(super) routes: Mutex<BTreeMap<Name, Arc<Count>>>,
    /// Number of connections and handshakes that ended early, by reason.
    closed: [Count; Reason::COUNT],
    /// Number of open client connections now.
    pub(super) open_connections: Count,
    /// Number of retried requests.
    pub(super) retries: Count,
    /// Number of retries that the retry budget refused.
    pub(super) retries_refused: Count,
    /// The counters of the service's queued requests.
    pub(super) queue: QueueCounters,
    /// Number of panics in tasks of the service's client connections.
    pub(super) panics: Count,
    /// The counters of responses to requests for which no backend was chosen.
    pub(super) no_backend: Arc<BackendCounters>,
}

/// The counters of one worker for a service's queued requests.
#[derive(Debug, Default)]
pub(super) struct QueueCounters {
    /// Number of requests in the queue now.
    pub(super) waiting: Count,
    /// Number of requests that had to wait.
    pub(super) waited: Count,
    /// Number of requests rejected because the queue was full or the wait too long.
    pub(super) rejected: Count,
}

impl QueueCounters {
    /// Returns the values of `waiting`, `waited` and `rejected`, in this order.
    fn values(&self) -> [u64; 3] {
        [&self.waiting, &self.waited, &self.rejected].map(Count::value)
    }
}

/// The counters of one worker for one backend of one service.
#[derive(Debug)]
pub(super) struct BackendCounters {
    codes: [Count; CODES],
    /// Number of responses that the front gave itself, by reason.
    own: [Count; Reason::COUNT],
    broken: [Count; Reason::COUNT],
    /// Number of connections with a request in flight now.
    pub(super) in_use: Count,
    /// Number of ejections of the backend.
    pub(super) ejections: Count,
}

/// The counters of the requests that matched each route of a service.
#[derive(Debug)]
pub(super) struct RouteCounts {
    /// The counter of requests that matched each route, by the route's index.
    pub(super) routes: Vec<Arc<Count>>,
    /// The counter of requests that matched no route.
    pub(super) default: Arc<Count>,
}

impl RouteCounts {
    /// Counts a request that matched the route with this index; `None`: no route.
    pub(super) fn count(&self, route: Option<usize>) {
        let count = route.and_then(|place| self.routes.get(place));
        count.unwrap_or(&self.default).add(1);
    }
}

impl WorkerCounters {
    /// Returns the counters of a service, creating them if they do not exist.
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
            closed: zeros(),
            routes: Mutex::default(),
            open_connections: Count::default(),
            retries: Count::default(),
            retries_refused: Count::default(),
            queue: QueueCounters::default(),
            panics: Count::default(),
            no_backend,
        }
    }
}

impl Default for BackendCounters {
    fn default() -> Self {
        Self {
            codes: zeros(),
            own: zeros(),
            broken: zeros(),
            in_use: Count::default(),
            ejections: Count::default(),
        }
    }
}

/// If a service has counters of this many backends or more, those of removed backends are dropped.
const MANY_BACKENDS: usize = 1024;

impl ServiceCounters {
    /// Returns the counters of a pool's backend, creating them if they do not exist. If the service
    /// has counters of [`MANY_BACKENDS`] backends, those of removed backends are dropped, so that a
    /// pool whose backends are replaced again and again does not fill the memory.
    pub(super) fn backend(&self, pool: &Name, name: &Name) -> Arc<BackendCounters> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Some((pool.clone(), name.clone()));
        if backends.len() >= MANY_BACKENDS && !backends.contains_key(&key) {
            backends.retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        Arc::clone(backends.entry(key).or_default())
    }

    /// Returns the counters of the routes with these names, creating those that do not exist.
    pub(super) fn route_counts(&self, names: impl Iterator<Item = Name>) -> RouteCounts {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |name: Name| Arc::clone(routes.entry(name).or_default());
        RouteCounts {
            routes: names.map(&mut count).collect(),
            default: count(Name::default_route()),
        }
    }

    /// Counts a finished request and its duration.
    pub(super) fn record_duration(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].add(1);
        self.microseconds
            .add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a connection, handshake or tunnel that ended early for this reason.
    pub(super) fn closed(&self, reason: Reason) {
        self.closed[reason as usize].add(1);
    }

    /// Counts a successful TLS handshake, by its version (1.3 or 1.2) and whether it resumed a
    /// session.
    pub(super) fn handshake_succeeded(&self, tls13: bool, resumed: bool) {
        self.handshakes[usize::from(tls13)][usize::from(resumed)].add(1);
    }
}

impl BackendCounters {
    /// Counts a response with this status, 100 to 599.
    pub(super) fn answered(&self, status: u16) {
        if let Some(count) = self.codes.get(usize::from(status).wrapping_sub(100)) {
            count.add(1);
        }
    }

    /// Counts a response with this status that the front gave itself, for this reason.
    pub(super) fn answered_locally(&self, status: u16, reason: Reason) {
        self.answered(status);
        self.own[reason as usize].add(1);
    }

    /// Counts a request that ended early, for this reason.
    pub(super) fn aborted(&self, reason: Reason) {
        self.broken[reason as usize].add(1);
    }
}

fn zeros<const COUNT: usize>() -> [Count; COUNT] {
    std::array::from_fn(|_| Count::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a good name")
    }

    #[test]
    fn counters_of_removed_backends_do_not_fill_the_memory() {
        let service = ServiceCounters::default();
        let pool = name("pool");
        let kept = service.backend(&pool, &name("kept"));
        kept.answered(200);
        for number in 0..10 * MANY_BACKENDS {
            service.backend(&pool, &name(&format!("i-{number}")));
        }
        let count = service.backends.lock().expect("no panic").len();
        assert!(count <= MANY_BACKENDS, "{count}");
        let again = service.backend(&pool, &name("kept"));
        assert!(
            Arc::ptr_eq(&kept, &again),
            "a backend in use keeps its counters"
        );
    }

    #[test]
    fn the_workers_counts_are_summed() {
        let workers = [WorkerCounters::default(), WorkerCounters::default()];
        for worker in &workers {
            let service = worker.service(&name("web"));
            let backend = service.backend(&name("pool"), &name("a"));
            backend.answered(200);
            backend.aborted(Reason::BackendResponseBodyClosed);
            let reason = Reason::LbQueueNoBackend;
            service.no_backend.answered_locally(503, reason);
            service.record_duration(Duration::from_millis(1));
            service.record_duration(Duration::from_secs(99));
            service.handshake_succeeded(true, true);
            let reason = Reason::ClientHeadHost;
            service.no_backend.answered_locally(400, reason);
            service.closed(Reason::ClientHandshakeAlert);
            service.closed(Reason::LbKeepAliveRoom);
        }
        let sums = sum(&workers.each_ref());
        let count = |backend: Option<&str>, code| RequestCount {
            service: name("web"),
            backend: backend.map(|backend| (name("pool"), name(backend))),
            code,
            count: 2,
        };
        assert_eq!(
            sums.requests,
            [count(None, 400), count(None, 503), count(Some("a"), 200)]
        );
        let for_reason = |backend: Option<&str>, reason| ReasonCount {
            service: name("web"),
            backend: backend.map(|backend| (name("pool"), name(backend))),
            reason,
            count: 2,
        };
        let broken = for_reason(Some("a"), Reason::BackendResponseBodyClosed);
        assert_eq!(sums.broken, [broken]);
        let own = for_reason(None, Reason::LbQueueNoBackend);
        assert_eq!(sums.own_answers, [own]);
        let failed = for_reason(None, Reason::ClientHandshakeAlert);
        assert_eq!(sums.handshake_failures, [failed]);
        let closed = for_reason(None, Reason::LbKeepAliveRoom);
        assert_eq!(sums.closed, [closed]);
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
        assert_eq!(refused, [&for_reason(None, Reason::ClientHeadHost)]);
    }

    #[test]
    fn counters_stay_when_a_service_comes_back() {
        let worker = WorkerCounters::default();
        worker.service(&name("web")).retries.add(3);
        worker.service(&name("web")).retries.add(1);
        assert_eq!(sum(&[&worker]).retries, [(name("web"), 4)]);
    }
}
