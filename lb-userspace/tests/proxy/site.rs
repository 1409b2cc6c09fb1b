//! A front under test, with its certificate and its pools.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use lb::{
    acme::Challenges,
    config::{
        self, AccessFormat, AccessLog, Balance, Http, LineFormat, Log, LogTarget, Mode, Name, Pool,
        Service, Timeouts, Tls, Weight, WhenAllDown,
    },
    pool::PoolView,
    proxy::{EndedEarly, Frontend, Proxy, Reason, ReasonCount},
    tickets::TicketKeys,
};
use lb_common::backend::BackendState;
use tokio::sync::watch;

/// A running front with one service, as the tests use it.
pub(crate) struct Site {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) address: SocketAddr,
    pub(crate) limits: Http,
    pub(crate) log: Log,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) service: Service,
    view: watch::Sender<Arc<PoolView>>,
    /// The publishers of the views of additional pools, which routes name.
    others: Vec<watch::Sender<Arc<PoolView>>>,
}

impl Site {
    /// Starts a front that serves HTTPS, with these backends and a certificate for `localhost`.
    pub(crate) fn https(backends: &[SocketAddr]) -> Self {
        Self::start(backends, true, &own_keys(), |_| {})
    }

    /// Starts a front that serves HTTPS, with the limits that `change` sets.
    pub(crate) fn with_limits(backends: &[SocketAddr], change: impl Fn(&mut Http)) -> Self {
        Self::start(backends, true, &own_keys(), change)
    }

    /// Starts a front that serves HTTP without TLS, with the limits that `change` sets.
    pub(crate) fn plain(backends: &[SocketAddr], change: impl Fn(&mut Http)) -> Self {
        Self::start(backends, false, &own_keys(), change)
    }

    /// Starts a front that serves HTTPS, and that encrypts session tickets with these keys.
    pub(crate) fn with_tickets(backends: &[SocketAddr], tickets: &TicketKeys) -> Self {
        Self::start(backends, true, tickets, |_| {})
    }

    fn start(
        backends: &[SocketAddr],
        https: bool,
        tickets: &TicketKeys,
        change: impl Fn(&mut Http),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut limits = limits();
        change(&mut limits);
        let certificates = vec![certificate(folder.path(), "localhost", "localhost")];
        let mode = if https {
            Mode::Https {
                certificates,
                obtained: None,
                tls: Tls::default(),
            }
        } else {
            Mode::Http
        };
        let pool = pool(backends);
        let states = vec![BackendState::Up; backends.len()];
        let view = Arc::new(PoolView::new(Arc::clone(&pool), states));
        let address = free_address();
        let site = Self {
            proxy: Some(Proxy::start(&limits, tickets, &Challenges::default()).expect("workers")),
            address,
            log: Log {
                format: LineFormat::Text,
                level: "info".to_owned(),
                events_file: None,
                errors: 256,
                access: None,
            },
            folder,
            service: Service {
                name: name("site"),
                listen: address,
                mode,
                pool: Some(pool),
                routing: Arc::default(),
                timeouts: limits.timeouts,
            },
            limits,
            view: watch::Sender::new(view),
            others: Vec::new(),
        };
        site.apply(site.service.clone()).expect("a good service");
        site
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("running")
    }

    /// Replaces the service of the front, as a reload does.
    pub(crate) fn apply(&self, service: Service) -> Result<(), Vec<lb::proxy::Error>> {
        let views = std::iter::once(&self.view).chain(&self.others);
        let pools = views.map(|view| (view.borrow().pool.name.clone(), view.subscribe()));
        let frontend = Frontend {
            service,
            moves: false,
            pools: pools.collect(),
        };
        self.proxy()
            .apply((&self.limits, &self.log), vec![frontend])
    }

    /// Enables the access log in JSON, which also gets lines for connections that ended early.
    /// Returns the path of its file.
    pub(crate) fn log_requests(&mut self) -> PathBuf {
        let file = self.folder.path().join("access.log");
        self.log.access = Some(AccessLog {
            format: AccessFormat::Json,
            to: LogTarget::File(file.clone()),
            trace: false,
            connections: true,
        });
        self.apply(self.service.clone()).expect("a log");
        file
    }

    /// Returns the only request, handshake, connection or tunnel that ended early, after asserting
    /// that it ended for this reason.
    pub(crate) fn ended_early(&self, reason: Reason) -> EndedEarly {
        let mut entries = self.proxy().ended_early();
        let last = entries.pop().expect("something ended early");
        assert_eq!(entries, [], "and nothing else");
        assert_eq!(last.reason, reason, "{last:?}");
        last
    }

    /// Sets the state of the backend with this index.
    pub(crate) fn set(&self, backend: usize, state: BackendState) {
        let mut view = (**self.view.borrow()).clone();
        if view.states[backend] != state && state == BackendState::Up {
            view.came_up[backend] = Some(SystemTime::now());
        }
        view.states[backend] = state;
        self.view.send_replace(Arc::new(view));
    }

    /// Configures that all backends are tried while none is up.
    pub(crate) fn try_all(&self) {
        let mut view = (**self.view.borrow()).clone();
        Arc::make_mut(&mut view.pool).when_all_down = WhenAllDown::TryAll;
        self.view.send_replace(Arc::new(view));
    }

    /// Returns the pool of the front under test, as it is configured now.
    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.view.borrow().pool)
    }

    /// Changes the pool of the front under test, as a reload does.
    pub(crate) fn change_pool(&self, change: impl FnOnce(&mut Pool)) {
        let mut view = (**self.view.borrow()).clone();
        change(Arc::make_mut(&mut view.pool));
        let service = Service {
            pool: Some(Arc::clone(&view.pool)),
            ..self.service.clone()
        };
        self.view.send_replace(Arc::new(view));
        self.apply(service).expect("a good pool");
    }

    /// Gives the pool of the front under test these backends, given by their numbers and addresses,
    /// all of which are up. The service is not applied again, as when backends are discovered.
    pub(crate) fn discover(&self, backends: &[(usize, SocketAddr)]) {
        let mut pool = (*self.pool()).clone();
        let backends = backends.iter();
        pool.backends = backends
            .map(|(number, address)| backend(*number, *address))
            .collect();
        let states = vec![BackendState::Up; pool.backends.len()];
        let view = PoolView::new(Arc::new(pool), states);
        self.view.send_replace(Arc::new(view));
    }

    /// Adds a pool with this name, which routes can name and whose backends are all up. Returns the
    /// pool.
    pub(crate) fn add_pool(&mut self, text: &str, backends: &[SocketAddr]) -> Arc<Pool> {
        let mut pool = (*pool(backends)).clone();
        pool.name = name(text);
        let pool = Arc::new(pool);
        let states = vec![BackendState::Up; backends.len()];
        let view = Arc::new(PoolView::new(Arc::clone(&pool), states));
        self.others.push(watch::Sender::new(view));
        pool
    }

    /// Sets the state of a backend, given by its index, of the pool that was added last.
    pub(crate) fn set_other(&self, backend: usize, state: BackendState) {
        let other = self.others.last().expect("a pool");
        let mut view = (**other.borrow()).clone();
        view.states[backend] = state;
        other.send_replace(Arc::new(view));
    }

    /// Returns the number of requests that were answered with this status.
    pub(crate) fn answered(&self, code: u16) -> u64 {
        let requests = self.proxy().counters().requests;
        let with_code = requests.iter().filter(|count| count.code == code);
        with_code.map(|count| count.count).sum()
    }

    /// Returns the number of requests that were aborted for this reason.
    pub(crate) fn broken(&self, reason: Reason) -> u64 {
        counted(&self.proxy().counters().broken, reason)
    }

    /// Returns the number of requests that the front answered itself for this reason.
    pub(crate) fn answered_by_us(&self, reason: Reason) -> u64 {
        let counters = self.proxy().counters();
        counted(&counters.refusals, reason) + counted(&counters.own_answers, reason)
    }

    /// Returns the number of connections and tunnels that ended early for this reason.
    pub(crate) fn closed(&self, reason: Reason) -> u64 {
        counted(&self.proxy().counters().closed, reason)
    }

    /// Returns the number of TLS handshakes that failed for this reason.
    pub(crate) fn failed_handshakes(&self, reason: Reason) -> u64 {
        counted(&self.proxy().counters().handshake_failures, reason)
    }

    /// Shuts the front down gracefully: requests in flight may take the time `grace` to finish.
    pub(crate) fn shutdown(mut self, grace: Duration) {
        self.proxy.take().expect("running").shutdown(grace);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.shutdown(Duration::ZERO);
        }
    }
}

fn counted(counts: &[ReasonCount], reason: Reason) -> u64 {
    let for_it = counts.iter().filter(|count| count.reason == reason);
    for_it.map(|count| count.count).sum()
}

fn own_keys() -> TicketKeys {
    TicketKeys::new().expect("random numbers")
}

/// Waits until a condition holds, for at most 20 seconds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Creates a certificate file with a self-signed certificate for these names, and returns its path.
pub(crate) fn certificate(folder: &Path, file: &str, names: &str) -> PathBuf {
    let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let path = folder.join(format!("{file}.pem"));
    std::fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    path
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

/// Returns an address and port on loopback that no socket uses at present.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn backend(number: usize, address: SocketAddr) -> config::Backend {
    config::Backend {
        name: name(&format!("web{number}")),
        address,
        weight: Weight::ONE,
        backup: false,
        leaving: false,
    }
}

fn pool(backends: &[SocketAddr]) -> Arc<Pool> {
    let backends = backends.iter().zip(1..);
    let backends = backends.map(|(address, number)| backend(number, *address));
    Arc::new(Pool {
        name: name("pool"),
        balance: Balance::RoundRobin,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends: backends.collect(),
        discover: None,
    })
}

fn limits() -> Http {
    Http {
        workers: NonZeroUsize::new(2).expect("not 0"),
        timeouts: Timeouts::default(),
        drain_timeout: Duration::from_secs(3600),
        max_header_bytes: 16384,
        max_connections: None,
        max_connections_per_client: 0,
        connection_buffer_bytes: 1 << 20,
        buffer_bytes: 256 << 20,
        idle_connections: 64,
        trusted_proxies: Vec::new(),
    }
}
