//! The HTTP front: terminates TLS, speaks HTTP to clients, chooses a backend for each request.
//!
//! Every worker is a thread with a runtime of its own, a listener of its own on every address
//! (`SO_REUSEPORT`), and its own idle connections to the backends: between workers there is nothing
//! shared but what is read only. A request takes no task, no channel and no lock.
//!
//! The way of a request: `worker` accepts, `serve` shakes hands, `http1` or `http2` reads a head,
//! `message` judges and rewrites it, `exchange` chooses a backend (`balance`, `upstream`) and tries
//! again where that is safe, `upload` sends it, `receive` hands the response on.

#![forbid(unsafe_code)]

mod account;
mod admission;
mod balance;
mod buffer;
mod certificates;
mod client_certificates;
mod connections;
mod counters;
mod error;
mod errors;
mod exchange;
mod field_guard;
mod front;
mod gate;
mod http1;
mod http1_body;
mod http1_sink;
mod http2;
mod http2_body;
mod http2_cancel;
mod http2_sink;
mod http2_window;
mod linger;
mod listener;
mod logged;
mod memory;
mod message;
mod metered;
mod observed;
mod outliers;
mod panics;
mod pem;
mod reason;
mod receive;
mod registry;
mod request_hash;
mod retries;
mod retry_budget;
mod routed;
mod routing;
mod selection;
mod serve;
mod served_pool;
mod served_tls;
mod session;
mod sessions;
mod shares;
mod slow_start;
mod targets;
mod tls;
mod trace;
mod tunnel;
mod upload;
mod upstream;
mod watchdog;
mod wire;
mod worker;

use std::{
    collections::HashMap,
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::watch;

pub(crate) use certificates::CERTIFICATE_METRICS;
pub use certificates::{
    CertificateInfo, CertificateMetrics, InspectedCertificate, check_certificates,
    inspect_certificate,
};
pub use client_certificates::check_client_authorities;
pub(crate) use counters::METRICS;
pub use counters::{
    BackendConnections, Counters, DURATION_BOUNDS, Durations, HandshakeCount, ReasonCount,
    RequestCount,
};
pub use error::{CertificateProblem, Error};
pub use errors::EndedEarly;
pub use pem::{Contents, PemProblem};
pub use reason::{By, Phase, Reason};
pub use routing::{PageProblem, Question, check_pages, explain};
pub use served_tls::tls_files;
pub use sessions::{SessionKeyProblem, check_session_keys};
pub use shares::{BackendUsage, PoolUsage};

use crate::{
    access_log::{self, AccessLog},
    acme::Challenges,
    config::{self, Name, Service},
    pool::PoolView,
    tickets::TicketKeys,
};
use connections::{ClientCounts, most_clients};
use errors::Errors;
use front::RoutePlan;
use routing::Table;
use served_pool::PoolPlan;
use served_tls::{Keys, ServedTls};
use shares::AllShares;
use worker::{Command, Finish, FrontPlan, Plan, Worker};

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A service to be served, and its pool as it is at any moment.
#[derive(Clone, Debug)]
pub struct Frontend {
    /// The service; its mode is `http` or `https`.
    pub service: Service,
    /// Whether its address moves between hosts: it listens there while another host has it, too.
    pub moves: bool,
    /// Its pools, by name. Backends that are not up get no new request from the moment they are
    /// seen here.
    pub pools: HashMap<Name, watch::Receiver<Arc<PoolView>>>,
}

/// The HTTP front. Dropping it without [`Self::shutdown`] ends all connections.
#[derive(Debug)]
pub struct Proxy {
    workers: Vec<Worker>,
    tickets: TicketKeys,
    challenges: Challenges,
    log_counts: Arc<access_log::Counts>,
    errors: Arc<Errors>,
    shares: AllShares,
    state: Mutex<State>,
}

/// What stays from one configuration to the next.
#[derive(Default)]
struct State {
    /// The listening sockets of each address, to be passed to the next process. The workers have
    /// descriptors of their own: a socket is closed when both are.
    bound: HashMap<SocketAddr, Vec<TcpListener>>,
    /// Listening sockets that this process was given and that no service has yet.
    given: HashMap<SocketAddr, Vec<TcpListener>>,
    /// The services with TLS.
    tls: Vec<(Service, ServedTls)>,
    access_log: Option<AccessLog>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("bound", &self.bound)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A frontend with all that can fail done.
struct Prepared {
    frontend: Frontend,
    tls: Option<ServedTls>,
    /// Some for each worker, where the address is new.
    listeners: Vec<Vec<TcpListener>>,
    /// Other descriptors of the same.
    bound: Vec<TcpListener>,
    routes: RoutePlan,
}

impl Proxy {
    /// Starts the workers, as many as `limits` says. They serve nothing yet. Session tickets are
    /// made with `tickets`, which outlive any change of certificates. Directories that validate a name
    /// are answered from `challenges`.
    ///
    /// # Errors
    /// A thread or its runtime could not be made.
    pub fn start(
        limits: &config::Http,
        tickets: &TicketKeys,
        challenges: &Challenges,
    ) -> Result<Self, Error> {
        panics::report_by_log();
        let per_client = Arc::<ClientCounts>::default();
        let errors = Arc::<Errors>::default();
        let workers = (0..limits.workers.get())
            .map(|number| Worker::start(number, (&per_client, &errors), challenges))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            workers,
            tickets: tickets.clone(),
            challenges: challenges.clone(),
            log_counts: Arc::default(),
            errors,
            shares: AllShares::new(limits.workers),
            state: Mutex::default(),
        })
    }

    /// Uses these listening sockets for the services that the next call of [`Self::apply`] brings.
    pub fn inherit(&self, listeners: HashMap<SocketAddr, Vec<TcpListener>>) {
        self.state().given = listeners;
    }

    /// The listening sockets of every address, for the process that takes over.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn listeners(&self) -> io::Result<Vec<(SocketAddr, Vec<OwnedFd>)>> {
        let state = self.state();
        let bound = state.bound.iter().map(|(address, listeners)| {
            let listeners = listeners.iter();
            let descriptors = listeners.map(|one| one.as_fd().try_clone_to_owned());
            Ok((*address, descriptors.collect::<io::Result<_>>()?))
        });
        bound.collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves these services from now on, and no others. Does first what can fail: reads the
    /// certificates, binds the new listeners. Then switches: listeners whose address stays go on,
    /// removed ones stop accepting and let their connections finish, new handshakes see new
    /// certificates. The number of workers stays as it was at the start.
    ///
    /// # Errors
    /// All that is wrong; then nothing has changed.
    pub fn apply(
        &self,
        (limits, log): (&config::Http, &config::Log),
        frontends: Vec<Frontend>,
    ) -> Result<(), Vec<Error>> {
        let mut state = self.state();
        let access_log = state.access_log(log, &self.log_counts);
        let prepared = self.prepare(&mut state, frontends);
        let (access_log, mut prepared) = match (access_log, prepared) {
            (Ok(access_log), Ok(prepared)) => (access_log, prepared),
            (access_log, prepared) => {
                let mut errors = prepared.err().unwrap_or_default();
                errors.extend(access_log.err());
                return Err(errors);
            }
        };
        if limits.workers.get() != self.workers.len() {
            tracing::warn!(
                running = self.workers.len(),
                configured = limits.workers,
                "the number of HTTP workers changes with the next process: `lb upgrade`"
            );
        }
        self.errors.limit(log.errors);
        let descriptors = descriptors();
        warn_of_few_descriptors(limits, descriptors);
        state.remember(&mut prepared, access_log.clone());
        let applied = self.switch(limits, descriptors, (access_log.as_ref(), &mut prepared));
        applied.map_err(|error| vec![error])
    }

    /// What the workers counted since they started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let workers = self.workers.iter().map(|worker| &*worker.counters);
        counters::sum(&workers.collect::<Vec<_>>())
    }

    /// What the backends of a pool do now.
    #[must_use]
    pub fn usage(&self, pool: &config::Pool) -> PoolUsage {
        self.shares.usage(pool, Instant::now())
    }

    /// What ended early last, the oldest first.
    #[must_use]
    pub fn ended_early(&self) -> Vec<EndedEarly> {
        self.errors.all()
    }

    /// What happened to lines of the access log.
    #[must_use]
    pub fn log_counts(&self) -> access_log::Counted {
        self.log_counts.now()
    }

    /// Has the file of the access log opened again, because the old one was moved away. False: there
    /// is no access log.
    pub fn reopen_log(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &state.access_log {
            log.reopen();
        }
        state.access_log.is_some()
    }

    /// The certificates in use.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let state = self.state();
        let infos = state
            .tls
            .iter()
            .map(|(service, tls)| tls.infos(&service.name));
        infos.flatten().collect()
    }

    /// Reads the [`tls_files`] again, and serves what they hold from the next handshake on. Connections
    /// go on. In place of a file that cannot be used, what it held before stays in use.
    ///
    /// # Errors
    /// Every file that cannot be used; the others are in use.
    pub fn reload_tls_files(&self) -> Result<(), Vec<Error>> {
        let mut state = self.state();
        let mut errors = Vec::new();
        let mut fresh = HashMap::new();
        for (service, tls) in &mut state.tls {
            let (reloaded, more) = tls.reload(service, self.keys());
            *tls = reloaded;
            errors.extend(more);
            fresh.insert(service.listen, Arc::clone(&tls.config));
        }
        let fresh = Arc::new(fresh);
        let told = self.tell_all(|done| Command::Tls(Arc::clone(&fresh), done));
        errors.extend(told.err());
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            tickets: &self.tickets,
            challenges: &self.challenges,
        }
    }

    /// Lets every connection answer once more and then end, new ones as well, while the listeners
    /// stay; or lets connections stay again. Returns at once: see [`Self::open_connections`].
    pub fn let_connections_end(&self, end: bool) {
        for worker in &self.workers {
            // One that is gone has no connections.
            let _told = worker.commands.send(Command::LetEnd(end));
        }
    }

    /// How many connections clients have open.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        let open = self.counters().open_connections;
        open.into_iter().map(|(_, open)| open).sum()
    }

    /// Whether every worker runs. One that ended takes its share of the connections with it.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.all(|worker| !worker.thread.is_finished())
    }

    /// Stops accepting and lets the requests under way finish, up to `grace`. Returns when all
    /// connections are closed; blocks the calling thread.
    pub fn shutdown(self, grace: Duration) {
        self.finish(Finish::Soon(grace));
    }

    /// Stops accepting, and lets connections end after one more response, or by themselves, up to
    /// `limit`. Returns when all are closed; blocks the calling thread.
    pub fn drain(self, limit: Duration) {
        self.finish(Finish::Gently(limit));
    }

    fn finish(self, how: Finish) {
        self.state().bound.clear();
        for worker in &self.workers {
            // A worker that is gone has nothing left to finish.
            let _told = worker.commands.send(Command::Finish(how));
        }
        for worker in self.workers {
            drop(worker.commands);
            if worker.thread.join().is_err() {
                tracing::error!("a worker of the HTTP front ended with a panic");
            }
        }
        let state = self.state.into_inner();
        if let Some(log) = state.unwrap_or_else(PoisonError::into_inner).access_log {
            log.finish(LAST_LINES);
        }
    }

    fn prepare(
        &self,
        state: &mut State,
        frontends: Vec<Frontend>,
    ) -> Result<Vec<Prepared>, Vec<Error>> {
        let mut errors = same_addresses(&frontends);
        let mut prepared = Vec::new();
        for frontend in frontends {
            match self.prepare_one(state, frontend) {
                Ok(one) => prepared.push(one),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() {
            Ok(prepared)
        } else {
            Err(errors)
        }
    }

    fn prepare_one(&self, state: &mut State, frontend: Frontend) -> Result<Prepared, Vec<Error>> {
        let mut prepared = Prepared {
            tls: None,
            listeners: Vec::new(),
            bound: Vec::new(),
            routes: RoutePlan::default(),
            frontend,
        };
        let mut errors = Vec::new();
        match ServedTls::load(&prepared.frontend.service, self.keys()) {
            Ok(tls) => prepared.tls = tls,
            Err(more) => errors = more,
        }
        if let Err(source) = prepared.listen(state, self.workers.len()) {
            let Service { name, listen, .. } = &prepared.frontend.service;
            errors.push(Error::Listen {
                service: name.clone(),
                address: *listen,
                source,
            });
        }
        errors.extend(
            prepared
                .set_up_routes(&self.shares)
                .err()
                .unwrap_or_default(),
        );
        if errors.is_empty() {
            Ok(prepared)
        } else {
            Err(errors)
        }
    }

    fn switch(
        &self,
        limits: &config::Http,
        descriptors: usize,
        (log, prepared): (Option<&AccessLog>, &mut [Prepared]),
    ) -> Result<(), Error> {
        let limits = Arc::new(limits.clone());
        self.tell_all(|done| {
            let plan = Plan {
                limits: Arc::clone(&limits),
                descriptors,
                log: log.cloned(),
                fronts: prepared.iter_mut().map(Prepared::plan).collect(),
            };
            Command::Apply(plan, done)
        })
    }

    /// Gives every worker a command, and waits until all have done what it says.
    fn tell_all(&self, mut command: impl FnMut(mpsc::Sender<()>) -> Command) -> Result<(), Error> {
        let (done, all_done) = mpsc::channel();
        for worker in &self.workers {
            let sent = worker.commands.send(command(done.clone()));
            sent.map_err(|_| Error::WorkerGone)?;
        }
        drop(done);
        // A worker that is gone drops its end, which ends the wait.
        if all_done.iter().count() == self.workers.len() {
            Ok(())
        } else {
            Err(Error::WorkerGone)
        }
    }
}

impl Prepared {
    /// Opens listening sockets for the workers, where there are none for the address.
    fn listen(&mut self, state: &mut State, workers: usize) -> io::Result<()> {
        let address = self.frontend.service.listen;
        if state.bound.contains_key(&address) {
            return Ok(());
        }
        let given = state.given.remove(&address).unwrap_or_default();
        let listeners = listener::bind(address, self.frontend.moves, workers, given)?;
        let other = listeners.iter().map(TcpListener::try_clone);
        self.bound = other.collect::<io::Result<_>>()?;
        self.listeners = listener::deal(listeners, workers);
        Ok(())
    }

    fn set_up_routes(&mut self, shares: &AllShares) -> Result<(), Vec<Error>> {
        let Frontend { service, pools, .. } = &self.frontend;
        let feeds = service.pools().into_iter().map(|pool| {
            let feed = pools.get(&pool.name).cloned();
            let feed = feed.ok_or_else(|| {
                vec![Error::NoPool {
                    service: service.name.clone(),
                    pool: pool.name.clone(),
                }]
            });
            let shares = shares.of(pool).map_err(|error| vec![error])?;
            Ok(PoolPlan {
                name: pool.name.clone(),
                feed: feed?,
                shares,
            })
        });
        self.routes = RoutePlan {
            // The service's own is the first.
            default: service.pool.as_ref().map(|_own| 0),
            pools: feeds.collect::<Result<_, Vec<Error>>>()?,
            table: Table::compile(service)?,
        };
        Ok(())
    }

    /// The plan for the next worker.
    fn plan(&mut self) -> FrontPlan {
        FrontPlan {
            name: self.frontend.service.name.clone(),
            listen: self.frontend.service.listen,
            listeners: self.listeners.pop().unwrap_or_default(),
            tls: self.tls.as_ref().map(|tls| Arc::clone(&tls.config)),
            routes: self.routes.clone(),
            timeouts: self.frontend.service.timeouts,
        }
    }
}

impl State {
    /// The access log of a new configuration.
    fn access_log(
        &self,
        log: &config::Log,
        counts: &Arc<access_log::Counts>,
    ) -> Result<Option<AccessLog>, Error> {
        let settings = log.access.as_ref();
        let before = self.access_log.as_ref();
        settings
            .map(|settings| AccessLog::open(settings, before, counts))
            .transpose()
            .map_err(Error::AccessLog)
    }

    /// Before the workers switch: a worker that stops listening on an address accepts what waits there,
    /// and then has the last descriptor.
    fn remember(&mut self, prepared: &mut [Prepared], access_log: Option<AccessLog>) {
        let mut before = std::mem::take(self).bound;
        self.access_log = access_log;
        for one in prepared {
            let address = one.frontend.service.listen;
            let bound = match before.remove(&address) {
                Some(bound) => bound,
                None => std::mem::take(&mut one.bound),
            };
            self.bound.insert(address, bound);
            if let Some(tls) = &one.tls {
                self.tls.push((one.frontend.service.clone(), tls.clone()));
            }
        }
    }
}

/// How many descriptors the process may have.
fn descriptors() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| {
        usize::try_from(soft).unwrap_or(usize::MAX)
    })
}

fn warn_of_few_descriptors(limits: &config::Http, descriptors: usize) {
    let possible = most_clients(descriptors);
    if let Some(configured) = limits.max_connections.filter(|most| *most > possible) {
        tracing::warn!(
            configured,
            possible,
            descriptors,
            "max_connections is more than the process has descriptors for; raise LimitNOFILE"
        );
    }
}

fn same_addresses(frontends: &[Frontend]) -> Vec<Error> {
    let mut seen: HashMap<SocketAddr, &Name> = HashMap::new();
    let mut errors = Vec::new();
    for Frontend { service, .. } in frontends {
        if let Some(first) = seen.insert(service.listen, &service.name) {
            errors.push(Error::SameAddress {
                first: first.clone(),
                second: service.name.clone(),
                address: service.listen,
            });
        }
    }
    errors
}
