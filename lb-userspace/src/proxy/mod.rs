//! The HTTP front: terminates TLS, serves HTTP/1 and HTTP/2 to clients, and forwards each request
//! to a backend.
//!
//! Every worker is a thread with its own runtime, its own listener on every address
//! (`SO_REUSEPORT`) and its own idle connections to the backends. Workers share only read-only
//! data, so forwarding a request needs no task, channel or lock.
//!
//! The path of a request: `worker` accepts the connection, `serve` completes the handshake, `http1`
//! or `http2` reads a head, `message` validates and rewrites it, `exchange` chooses a backend
//! (`balance`, `upstream`) and retries where that is safe, `upload` sends the request, `receive`
//! forwards the response.

#![forbid(unsafe_code)]

mod admission_control;
mod admit;
mod backend_set;
mod balance;
mod buffer;
mod certificates;
mod client_certificates;
mod client_io;
mod connections;
mod counters;
mod early_ends;
mod error;
mod exchange;
mod field_guard;
mod front;
mod http1;
mod http1_body;
mod http1_head;
mod http1_sink;
mod http2;
mod http2_activity;
mod http2_body;
mod http2_cancel;
mod http2_sink;
mod http2_window;
mod linger;
mod listener;
mod log_entry;
mod memory;
mod message;
mod metered;
mod observation;
mod outliers;
mod panics;
mod pem;
mod prepared;
mod reason;
mod receive;
mod registry;
mod request_hash;
mod request_recorder;
mod request_state;
mod retries;
mod retry_budget;
mod routed;
mod routing;
mod selection;
mod serve;
mod served_pool;
mod served_tls;
mod shared_pools;
mod slow_start;
mod sticky;
mod tls;
mod tls_session;
mod trace;
mod tunnel;
mod upload;
mod upstream;
mod upstream_request;
mod watchdog;
mod wire;
mod worker;

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

pub(crate) use certificates::CERTIFICATE_METRICS;
pub use certificates::{
    CertificateInfo, CertificateMetrics, InspectedCertificate, certified_key, check_certificates,
    inspect_certificate,
};
pub use client_certificates::{
    check_authorities, check_client_authorities, client_name, operator_verifier, revocations_expire,
};
pub(crate) use counters::METRICS;
pub use counters::{
    BackendConnections, Counters, DURATION_BOUNDS, Durations, HandshakeCount, ReasonCount,
    RequestCount,
};
pub use early_ends::EndedEarly;
pub use error::{CertificateProblem, Error, SessionKeyProblem};
use nix::sys::resource::{Resource, getrlimit};
pub use pem::{Contents, PemProblem};
pub use prepared::Frontend;
pub use reason::{By, Phase, Reason};
pub use routing::{PageProblem, Question, check_pages, explain};
pub use served_tls::tls_files;
pub use shared_pools::{BackendUsage, PoolUsage};
pub use sticky::check_session_keys;

use crate::{
    access_log::{self, AccessLog},
    acme::Challenges,
    config,
    tickets::TicketKeys,
};
use connections::{ClientCounts, most_clients};
use early_ends::EarlyEnds;
use prepared::{PreparedService, State, prepare_all};
use served_tls::Keys;
use shared_pools::SharedPools;
use worker::{Command, Finish, Plan, Worker};

/// Time limit for writing the last lines of the access log when the front ends.
const LOG_FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The HTTP front. Dropping this value without calling [`Self::shutdown`] closes all connections.
#[derive(Debug)]
pub struct Proxy {
    workers: Vec<Worker>,
    tickets: TicketKeys,
    challenges: Challenges,
    log_counts: Arc<access_log::Counts>,
    errors: Arc<EarlyEnds>,
    shared: SharedPools,
    state: Mutex<State>,
}

impl Proxy {
    /// Starts the number of workers that `limits` configures, without any service. Session tickets
    /// are encrypted with the keys `tickets`, which outlive any change of certificates. ACME
    /// challenges are answered from `challenges`.
    ///
    /// # Errors
    /// A thread or its runtime could not be created.
    pub fn start(
        limits: &config::Http,
        tickets: &TicketKeys,
        challenges: &Challenges,
    ) -> Result<Self, Error> {
        panics::report_by_log();
        let per_client = Arc::<ClientCounts>::default();
        let errors = Arc::<EarlyEnds>::default();
        let workers = (0..limits.workers.get())
            .map(|number| Worker::start(number, (&per_client, &errors), challenges))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            workers,
            tickets: tickets.clone(),
            challenges: challenges.clone(),
            log_counts: Arc::default(),
            errors,
            shared: SharedPools::new(limits.workers),
            state: Mutex::default(),
        })
    }

    /// Stores listening sockets, inherited from the process before this one, for the services of
    /// the next [`Self::apply`].
    pub fn inherit(&self, listeners: HashMap<SocketAddr, Vec<TcpListener>>) {
        self.state().inherited = listeners;
    }

    /// Returns descriptors of the listening sockets of every address, for the process that takes
    /// over in an upgrade.
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

    /// Replaces the set of services that the front serves. Everything that can fail comes first:
    /// reading certificates, binding new listeners. Then the workers switch: listeners whose
    /// address stays continue, removed listeners stop accepting and let their connections finish,
    /// and new handshakes use the new certificates. The number of workers stays what it was at
    /// start.
    ///
    /// # Errors
    /// Everything that is wrong with the services; nothing has changed then.
    pub fn apply(
        &self,
        (limits, log): (&config::Http, &config::Log),
        frontends: Vec<Frontend>,
    ) -> Result<(), Vec<Error>> {
        let mut state = self.state();
        let access_log = state.access_log(log, &self.log_counts);
        let prepared = prepare_all(
            &mut state,
            frontends,
            self.keys(),
            &self.shared,
            self.workers.len(),
        );
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
                "the number of HTTP workers changes only in a new process: run `lb upgrade`"
            );
        }
        self.errors.limit(log.errors);
        let descriptors = descriptors();
        warn_of_few_descriptors(limits, descriptors);
        state.commit(&mut prepared, access_log.clone());
        let applied = self.switch(limits, descriptors, (access_log.as_ref(), &mut prepared));
        applied.map_err(|error| vec![error])
    }

    /// Returns the sums of the workers' counters since start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let workers = self.workers.iter().map(|worker| &*worker.counters);
        counters::sum(&workers.collect::<Vec<_>>())
    }

    /// Returns the current usage of a pool and its backends.
    #[must_use]
    pub fn usage(&self, pool: &config::Pool) -> PoolUsage {
        self.shared.usage(pool, Instant::now())
    }

    /// Returns the most recent requests, handshakes, connections and tunnels that ended early, the
    /// oldest first.
    #[must_use]
    pub fn ended_early(&self) -> Vec<EndedEarly> {
        self.errors.all()
    }

    /// Returns how many lines of the access log were written and dropped.
    #[must_use]
    pub fn log_counts(&self) -> access_log::Counted {
        self.log_counts.now()
    }

    /// Reopens the file of the access log, which must be done after log rotation has moved the old
    /// file. Returns false if no access log is configured.
    pub fn reopen_log(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &state.access_log {
            log.reopen();
        }
        state.access_log.is_some()
    }

    /// Returns the certificates that the services have in use.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let state = self.state();
        let infos = state
            .tls
            .iter()
            .map(|(service, tls)| tls.infos(&service.name));
        infos.flatten().collect()
    }

    /// Reads the certificates, certificate authorities and revocation lists of all services (the
    /// files that [`tls_files`] returns) again, and uses them from the next handshake on. Existing
    /// connections continue. If a file cannot be used, its previous content stays in use.
    ///
    /// # Errors
    /// Every file that cannot be used; the other files are in use then.
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
        let sent = self.broadcast(|done| Command::Tls(Arc::clone(&fresh), done));
        errors.extend(sent.err());
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

    /// With `end` true, drains: every connection, new ones too, gets one more response and then
    /// ends, while the listeners stay. With `end` false, stops draining. Returns immediately;
    /// [`Self::open_connections`] says how many connections are left.
    pub fn let_connections_end(&self, end: bool) {
        for worker in &self.workers {
            // Sending fails only if the worker has exited, and then it has no connections.
            let _sent = worker.commands.send(Command::Drain(end));
        }
    }

    /// Returns the number of open client connections.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        let open = self.counters().open_connections;
        open.into_iter().map(|(_, open)| open).sum()
    }

    /// Returns whether all workers run. If a worker has exited, the new connections that the kernel
    /// assigns to it are not served.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.all(|worker| !worker.thread.is_finished())
    }

    /// Stops accepting and lets requests in flight finish, for at most `grace`. Blocks the calling
    /// thread until all connections are closed.
    pub fn shutdown(self, grace: Duration) {
        self.finish(Finish::Soon(grace));
    }

    /// Stops accepting and lets each connection end after one more response, or by itself, for at
    /// most `limit`. Blocks the calling thread until all connections are closed.
    pub fn drain(self, limit: Duration) {
        self.finish(Finish::Gently(limit));
    }

    fn finish(self, how: Finish) {
        self.state().bound.clear();
        for worker in &self.workers {
            // Sending fails only if the worker has exited, and then it has nothing to finish.
            let _sent = worker.commands.send(Command::Finish(how));
        }
        for worker in self.workers {
            drop(worker.commands);
            if worker.thread.join().is_err() {
                tracing::error!("a worker of the HTTP front panicked");
            }
        }
        let state = self.state.into_inner();
        if let Some(log) = state.unwrap_or_else(PoisonError::into_inner).access_log {
            log.finish(LOG_FLUSH_LIMIT);
        }
    }

    fn switch(
        &self,
        limits: &config::Http,
        descriptors: usize,
        (log, prepared): (Option<&AccessLog>, &mut [PreparedService]),
    ) -> Result<(), Error> {
        let limits = Arc::new(limits.clone());
        self.broadcast(|done| {
            let plan = Plan {
                limits: Arc::clone(&limits),
                descriptors,
                log: log.cloned(),
                fronts: prepared.iter_mut().map(PreparedService::plan).collect(),
            };
            Command::Apply(plan, done)
        })
    }

    /// Sends a command to every worker and waits until all have carried it out.
    fn broadcast(&self, mut command: impl FnMut(mpsc::Sender<()>) -> Command) -> Result<(), Error> {
        let (done, all_done) = mpsc::channel();
        for worker in &self.workers {
            let sent = worker.commands.send(command(done.clone()));
            sent.map_err(|_| Error::WorkerGone)?;
        }
        drop(done);
        // A worker that has exited has dropped its sender, so the count does not wait for it.
        if all_done.iter().count() == self.workers.len() {
            Ok(())
        } else {
            Err(Error::WorkerGone)
        }
    }
}

/// Returns the soft limit of open file descriptors of this process.
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
            "max_connections exceeds what the process has descriptors for; raise LimitNOFILE"
        );
    }
}
