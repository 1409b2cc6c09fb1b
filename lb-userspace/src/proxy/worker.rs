//! A worker of the front: a thread with its own runtime, listeners, connections and backends.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    rc::Rc,
    sync::{Arc, mpsc::Sender},
    task::Poll,
    thread::JoinHandle,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{LocalSet, spawn_local},
};

use super::{
    Error,
    connections::{ClientCounts, Connections, Limits},
    counters::WorkerCounters,
    early_ends::EarlyEnds,
    front::{Client, Front, RoutePlan, Settings, WorkerContext, is_trusted},
    memory::{BufferPool, MemoryBudget},
    panics::contained,
    reason::Reason,
    serve::serve_client,
    upstream::Upstreams,
};
use crate::{
    access_log::AccessLog,
    acme::Challenges,
    config::{Http, Name, Timeouts},
};

/// Interval at which stale connections to backends are closed and unused buffers freed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long an idle connection stays open after draining has begun, so that a client that is
/// sending a request at that moment gets a response.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long a worker pauses in accepting connections when the process has no file descriptor left.
const OUT_OF_FILES_PAUSE: Duration = Duration::from_millis(50);

/// The configuration that one worker serves.
#[derive(Debug)]
pub(super) struct Plan {
    /// The limits and timeouts for connections and requests.
    pub(super) limits: Arc<Http>,
    /// The soft limit of the file descriptors that the process may have open.
    pub(super) descriptors: usize,
    /// The access log; `None` if none is configured.
    pub(super) log: Option<AccessLog>,
    /// All services that the worker serves.
    pub(super) fronts: Vec<FrontPlan>,
}

/// One service of the configuration ([`Plan`]) that a worker serves.
#[derive(Debug)]
pub(super) struct FrontPlan {
    /// The name of the service.
    pub(super) name: Name,
    /// The address and port that the service listens on.
    pub(super) listen: SocketAddr,
    /// Listening sockets for the address; empty if the worker has them already.
    pub(super) listeners: Vec<StdListener>,
    /// The TLS configuration; `None` for plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The pools and routes of the service.
    pub(super) routes: RoutePlan,
    /// The service's timeouts for clients and backends.
    pub(super) timeouts: Timeouts,
}

/// How a worker that stops brings its open connections to an end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finish {
    /// Idle connections and tunnels end now, other connections after their response, all within
    /// this time.
    Soon(Duration),
    /// Every connection, tunnels included, ends after one more response or by itself, all within
    /// this time.
    Gently(Duration),
}

impl Finish {
    fn limit(self) -> Duration {
        match self {
            Self::Soon(limit) | Self::Gently(limit) => limit,
        }
    }
}

/// TLS configurations of services, by the address that they listen on.
pub(super) type TlsByAddress = Arc<HashMap<SocketAddr, Arc<ServerConfig>>>;

/// A command that the front sends to a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Serves this configuration from now on; notifies the sender when the worker does so.
    Apply(Plan, Sender<()>),
    /// Uses these TLS configurations for new handshakes; notifies the sender when the worker does
    /// so.
    Tls(TlsByAddress, Sender<()>),
    /// Starts (true) or cancels (false) draining: each connection ends after one more response.
    Drain(bool),
    /// Ends the worker after its connections have ended in this way.
    Finish(Finish),
}

/// The handle by which the front controls a running worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Sends commands to the worker.
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// The worker's counters.
    pub(super) counters: Arc<WorkerCounters>,
    /// The thread that the worker runs on.
    pub(super) thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread of a worker, which serves no service yet.
    pub(super) fn start(
        number: usize,
        (per_client, early_ends): (&Arc<ClientCounts>, &Arc<EarlyEnds>),
        challenges: &Challenges,
    ) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Worker)?;
        let counters = Arc::<WorkerCounters>::default();
        let (commands, receiver) = mpsc::unbounded_channel();
        let state = (
            Arc::clone(&counters),
            Arc::clone(per_client),
            Arc::clone(early_ends),
            challenges.clone(),
        );
        let thread = std::thread::Builder::new()
            .name(format!("lb-http-{number}"))
            .spawn(move || {
                let local = LocalSet::new();
                local.block_on(&runtime, run(receiver, state));
            })
            .map_err(Error::Worker)?;
        Ok(Self {
            commands,
            counters,
            thread,
        })
    }
}

async fn run(
    mut commands: mpsc::UnboundedReceiver<Command>,
    (counters, per_client, early_ends, challenges): (
        Arc<WorkerCounters>,
        Arc<ClientCounts>,
        Arc<EarlyEnds>,
        Challenges,
    ),
) {
    let mut state = WorkerState::new(counters, (&per_client, early_ends), challenges);
    let (upstreams, buffers) = (Rc::clone(&state.upstreams), Rc::clone(&state.buffers));
    let sweeper = spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            upstreams.sweep();
            buffers.sweep();
        }
    });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Apply(plan, done) => {
                state.apply(plan);
                // The sender of the command may have given up waiting, which is no error.
                let _sent = done.send(());
            }
            Command::Tls(configs, done) => {
                state.change_tls(&configs);
                let _sent = done.send(());
            }
            Command::Drain(end) => state.drain(end),
            Command::Finish(how) => {
                state.finish(how).await;
                break;
            }
        }
    }
    sweeper.abort();
}

/// The state of a running worker.
struct WorkerState {
    counters: Arc<WorkerCounters>,
    challenges: Challenges,
    upstreams: Rc<Upstreams>,
    buffers: Rc<BufferPool>,
    endpoints: HashMap<SocketAddr, Rc<Endpoint>>,
    connections: Rc<Connections>,
    log: Option<Rc<AccessLog>>,
    early_ends: Arc<EarlyEnds>,
}

/// An address that the worker listens on, and the service that is served there.
struct Endpoint {
    front: RefCell<Rc<Front>>,
    /// Whether listening on the address has ended.
    closed: watch::Sender<bool>,
}

impl WorkerState {
    fn new(
        counters: Arc<WorkerCounters>,
        (per_client, early_ends): (&Arc<ClientCounts>, Arc<EarlyEnds>),
        challenges: Challenges,
    ) -> Self {
        Self {
            challenges,
            upstreams: Rc::default(),
            buffers: BufferPool::new(MemoryBudget::new(&counters)),
            counters,
            endpoints: HashMap::new(),
            connections: Connections::new(per_client),
            log: None,
            early_ends,
        }
    }

    fn apply(&mut self, plan: Plan) {
        let limits = Rc::new((*plan.limits).clone());
        self.log = plan.log.map(Rc::new);
        let most = limits.buffer_bytes / limits.workers;
        self.buffers.memory().limit(most);
        self.connections
            .limit(Limits::new(&limits, plan.descriptors));
        let mut before = std::mem::take(&mut self.endpoints);
        for front in plan.fronts {
            let listen = front.listen;
            let endpoint = match before.remove(&listen) {
                Some(endpoint) => self.change(endpoint, front, &limits),
                None => self.open(front, &limits),
            };
            self.endpoints.insert(listen, endpoint);
        }
        for endpoint in before.into_values() {
            endpoint.close();
        }
    }

    fn change(&self, endpoint: Rc<Endpoint>, plan: FrontPlan, limits: &Rc<Http>) -> Rc<Endpoint> {
        let front = Rc::clone(&endpoint.front.borrow());
        if front.name == plan.name && front.is_https() == plan.tls.is_some() {
            let settings = Settings {
                limits: limits_of(limits, &plan),
                tls: plan.tls,
                log: self.log.clone(),
            };
            front.update(settings, plan.routes);
        } else {
            front.drain.begin();
            *endpoint.front.borrow_mut() = self.front(plan, limits);
        }
        endpoint
    }

    fn open(&self, mut plan: FrontPlan, limits: &Rc<Http>) -> Rc<Endpoint> {
        let listeners = std::mem::take(&mut plan.listeners);
        let name = plan.name.clone();
        let endpoint = Rc::new(Endpoint {
            front: RefCell::new(self.front(plan, limits)),
            closed: watch::Sender::new(false),
        });
        for listener in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(spawn_local(accept(
                    listener,
                    Rc::clone(&endpoint),
                    Rc::clone(&self.connections),
                ))),
                Err(error) => {
                    tracing::error!(service = %name, %error, "cannot register a listener with the runtime");
                }
            }
        }
        endpoint
    }

    fn front(&self, plan: FrontPlan, limits: &Rc<Http>) -> Rc<Front> {
        let settings = Settings {
            limits: limits_of(limits, &plan),
            tls: plan.tls,
            log: self.log.clone(),
        };
        let counters = self.counters.service(&plan.name);
        let context = WorkerContext {
            upstreams: Rc::clone(&self.upstreams),
            buffers: Rc::clone(&self.buffers),
            connections: Rc::clone(&self.connections),
            challenges: self.challenges.clone(),
            early_ends: Arc::clone(&self.early_ends),
        };
        Rc::new(Front::new(
            (plan.name, plan.listen),
            counters,
            context,
            (settings, plan.routes),
        ))
    }

    fn change_tls(&self, configs: &TlsByAddress) {
        for (address, config) in configs.iter() {
            if let Some(endpoint) = self.endpoints.get(address) {
                endpoint.front.borrow().change_tls(Arc::clone(config));
            }
        }
    }

    fn drain(&self, end: bool) {
        for endpoint in self.endpoints.values() {
            let front = Rc::clone(&endpoint.front.borrow());
            if !end {
                front.drain.cancel();
                continue;
            }
            front.drain.announce();
            spawn_local(async move {
                tokio::time::sleep(DRAIN_GRACE).await;
                if front.drain.is_last() {
                    front.drain.begin();
                }
            });
        }
    }

    async fn finish(&mut self, how: Finish) {
        for (_, endpoint) in self.endpoints.drain() {
            match how {
                Finish::Soon(_) => endpoint.close(),
                Finish::Gently(_) => endpoint.stop_accepting(),
            }
        }
        let done = self.connections.wait_until_closed();
        if tokio::time::timeout(how.limit(), done).await.is_err() {
            tracing::warn!(
                connections = self.connections.count(),
                "client connections were still open when the time limit for finishing expired"
            );
        }
    }
}

/// Returns the worker's limits, with the timeouts that one service has.
fn limits_of(limits: &Http, plan: &FrontPlan) -> Rc<Http> {
    Rc::new(Http {
        timeouts: plan.timeouts,
        ..limits.clone()
    })
}

impl Endpoint {
    /// Stops accepting connections, and lets those that are open finish.
    fn close(&self) {
        self.closed.send_replace(true);
        self.front.borrow().drain.begin();
    }

    /// Stops accepting connections. Those that are open end after one more response, or by
    /// themselves.
    fn stop_accepting(&self) {
        self.closed.send_replace(true);
        self.front.borrow().drain.announce();
    }
}

/// Accepts connections until the endpoint is closed, and then those that still wait in the socket.
async fn accept(listener: TcpListener, endpoint: Rc<Endpoint>, connections: Rc<Connections>) {
    let _accepting = connections.accepting();
    {
        let mut closed = endpoint.closed.subscribe();
        let mut stop = pin!(async {
            // Waiting cannot fail: the sender is part of the endpoint, which this task keeps alive.
            let _closed = closed.wait_for(|closed| *closed).await;
        });
        loop {
            let accepted = poll_fn(|context| {
                if stop.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                listener.poll_accept(context).map(Some)
            });
            match accepted.await {
                None => break,
                Some(Ok(connection)) => {
                    let stopped = tokio::select! {
                        biased;
                        () = connections.wait_for_room() => false,
                        () = stop.as_mut() => true,
                    };
                    serve_accepted(connection, &endpoint, &connections);
                    if stopped {
                        break;
                    }
                }
                Some(Err(error)) => handle_accept_error(&error, &connections).await,
            }
        }
    }
    let waiting = || poll_fn(|context| Poll::Ready(listener.poll_accept(context)));
    while let Poll::Ready(Ok(connection)) = waiting().await {
        serve_accepted(connection, &endpoint, &connections);
    }
}

fn serve_accepted(
    (stream, from): (TcpStream, SocketAddr),
    endpoint: &Endpoint,
    connections: &Rc<Connections>,
) {
    let front = Rc::clone(&endpoint.front.borrow());
    let limits = front.limits();
    let address = from.ip().to_canonical();
    // A trusted proxy carries many clients, so the limit of connections for each client does not
    // apply to it.
    let most = if is_trusted(address, &limits) {
        0
    } else {
        limits.max_connections_per_client
    };
    let Some(open) = connections.open(address, most, &front.counters) else {
        front.counters.closed(Reason::LbHandshakeClientLimit);
        return;
    };
    let entry = Rc::clone(&open.entry);
    let served = Box::pin({
        let front = Rc::clone(&front);
        async move {
            let client = Client::new((address, from.port()), &open.entry);
            serve_client(stream, client, &front).await;
        }
    });
    let served = spawn_local(async move {
        contained(&front.name, &front.counters, served).await;
    });
    entry.set_task(served.abort_handle());
}

/// Handles an error of accepting a connection. An error that concerns only the one connection is
/// ignored; if file descriptors or memory are exhausted, closes the oldest connections, logs the
/// error and pauses.
async fn handle_accept_error(error: &io::Error, connections: &Connections) {
    if matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    ) {
        connections.close_oldest();
        if !connections.is_quiet() {
            tracing::warn!(
                limit = "file descriptors",
                %error,
                effect = "new connections are not accepted for now; raise LimitNOFILE if this persists",
                event = "limit_reached",
                "cannot accept connections"
            );
        }
        tokio::time::sleep(OUT_OF_FILES_PAUSE).await;
    }
}
