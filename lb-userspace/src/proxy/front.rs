//! A service as one worker serves it.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use rustls::ServerConfig;
use tokio::sync::Notify;

#[cfg(test)]
use {
    super::{counters::WorkerCounters, memory::MemoryBudget},
    crate::config::Config,
    std::path::Path,
};

use super::{
    balance::mix,
    connections::{Connections, Entry, OpenBackend},
    counters::{RouteCounts, ServiceCounters},
    early_ends::EarlyEnds,
    memory::BufferPool,
    message::Refusal,
    panics,
    routed::Routed,
    routing::{self, Outcome, Table},
    selection::Selection,
    served_pool::{PoolPlan, ServedPool},
    tls_session::TlsSession,
    upstream::Upstreams,
};
use crate::{
    access_log::AccessLog,
    acme::Challenges,
    config::{Http, Name},
};

/// A service as one worker serves it. Its settings change in place, so that connections continue.
#[derive(Debug)]
pub(super) struct Front {
    /// The name of the service.
    pub(super) name: Name,
    /// The address and port that the service listens on, as text.
    pub(super) local: String,
    /// The worker's counters of the service.
    pub(super) counters: Arc<ServiceCounters>,
    /// Tells the service's connections when to end.
    pub(super) drain: Drain,
    /// The worker's pool of response buffers.
    pub(super) buffers: Rc<BufferPool>,
    /// The worker's connections to clients and backends.
    connections: Rc<Connections>,
    /// The responses to ACME challenges.
    pub(super) challenges: Challenges,
    /// The most recent requests, handshakes, connections and tunnels that ended early, of all
    /// services.
    pub(super) early_ends: Arc<EarlyEnds>,
    upstreams: Rc<Upstreams>,
    settings: RefCell<Settings>,
    routes: RefCell<Routes>,
}

/// The parts of a worker that all its services share.
#[derive(Debug)]
pub(super) struct WorkerContext {
    /// The connection pools of the backends, by address.
    pub(super) upstreams: Rc<Upstreams>,
    /// The pool of response buffers.
    pub(super) buffers: Rc<BufferPool>,
    /// The connections to clients and backends.
    pub(super) connections: Rc<Connections>,
    /// The responses to ACME challenges.
    pub(super) challenges: Challenges,
    /// The most recent requests, handshakes, connections and tunnels that ended early, of all
    /// services.
    pub(super) early_ends: Arc<EarlyEnds>,
}

/// The settings of a service that a reload can change.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The limits and timeouts of the service; each worker has its own copy.
    pub(super) limits: Rc<Http>,
    /// The TLS configuration; `None` for plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The access log; `None` if none is configured.
    pub(super) log: Option<Rc<AccessLog>>,
}

/// The pools of a service and its routes.
#[derive(Clone, Debug, Default)]
pub(super) struct RoutePlan {
    /// Index in `pools` of the pool for requests that match no route; `None` if there is no such
    /// pool.
    pub(super) default: Option<usize>,
    /// All pools that the service or one of its routes names.
    pub(super) pools: Vec<PoolPlan>,
    /// The routing table; `None` if every request goes to the default pool.
    pub(super) table: Option<Arc<Table>>,
}

/// A [`RoutePlan`] in the form that a worker serves it in.
#[derive(Debug, Default)]
struct Routes {
    default: Option<Rc<ServedPool>>,
    pools: Vec<Rc<ServedPool>>,
    table: Option<(Arc<Table>, RouteCounts)>,
}

impl Front {
    /// Creates the service with this name, listening at the address `listen`.
    pub(super) fn new(
        (name, listen): (Name, SocketAddr),
        counters: Arc<ServiceCounters>,
        context: WorkerContext,
        (settings, routes): (Settings, RoutePlan),
    ) -> Self {
        let front = Self {
            name,
            local: listen.to_string(),
            counters,
            drain: Drain::default(),
            buffers: context.buffers,
            connections: context.connections,
            challenges: context.challenges,
            early_ends: context.early_ends,
            upstreams: context.upstreams,
            settings: RefCell::new(settings),
            routes: RefCell::default(),
        };
        front.apply_routes(routes);
        front
    }

    /// Returns the limits and timeouts that are in force now.
    pub(super) fn limits(&self) -> Rc<Http> {
        Rc::clone(&self.settings.borrow().limits)
    }

    /// Returns the access log that is in force now; `None` if none is configured.
    pub(super) fn access_log(&self) -> Option<Rc<AccessLog>> {
        self.settings.borrow().log.clone()
    }

    /// Returns whether the service's clients connect over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.settings.borrow().tls.is_some()
    }

    /// Returns the TLS configuration that is in force now; `None` for plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.settings.borrow().tls.clone()
    }

    /// Replaces the settings and the routes. They apply from the next request and the next
    /// handshake on.
    pub(super) fn update(&self, settings: Settings, routes: RoutePlan) {
        *self.settings.borrow_mut() = settings;
        self.apply_routes(routes);
    }

    /// Replaces the TLS configuration, which applies from the next handshake on.
    pub(super) fn change_tls(&self, tls: Arc<ServerConfig>) {
        self.settings.borrow_mut().tls = Some(tls);
    }

    /// Applies a plan of pools and routes. A pool that the previous plan had too keeps its
    /// connections and the state of its balancer.
    fn apply_routes(&self, plan: RoutePlan) {
        let mut before = std::mem::take(&mut *self.routes.borrow_mut()).pools;
        let seed = &raw const *self.buffers as usize as u64;
        let pools = plan.pools.into_iter().map(|plan| {
            match before.iter().position(|pool| pool.name == plan.name) {
                Some(place) => {
                    let pool = before.swap_remove(place);
                    pool.update(plan);
                    pool
                }
                None => ServedPool::new(plan, &self.counters, (&self.upstreams, seed)),
            }
        });
        let pools: Vec<_> = pools.collect();
        let default = plan.default.and_then(|place| pools.get(place).cloned());
        let table = plan.table.map(|table| {
            let counts = self.counters.route_counts(table.names().cloned());
            (table, counts)
        });
        *self.routes.borrow_mut() = Routes {
            default,
            pools,
            table,
        };
        for pool in before {
            pool.drop_idle();
        }
    }

    /// Routes a request: returns the pool that serves it and the decision of the routing table.
    ///
    /// # Errors
    /// A route matches on a part of the request that servers may interpret differently.
    pub(super) fn route(&self, request: &routing::Request<'_>) -> Result<Routed, Refusal> {
        panics::happen_on_demand(request.target);
        let routes = self.routes.borrow();
        let Some((table, counts)) = &routes.table else {
            let pool = routes.default.clone();
            return Ok(Routed {
                selection: selection(pool.as_deref(), request),
                pool,
                decision: None,
            });
        };
        let decision = table.decide(request, routes.default.is_some())?;
        counts.count(decision.route);
        let pool = match &decision.outcome {
            Outcome::Pool(place, _) => routes.pools.get(*place).cloned(),
            Outcome::Default => routes.default.clone(),
            Outcome::Redirect(..) | Outcome::Respond | Outcome::Unmatched(_) => None,
        };
        Ok(Routed {
            selection: selection(pool.as_deref(), request),
            pool,
            decision: Some(decision),
        })
    }

    /// Returns the routing table; `None` if the service has no routes.
    pub(super) fn table(&self) -> Option<Arc<Table>> {
        let routes = self.routes.borrow();
        routes.table.as_ref().map(|(table, _)| Arc::clone(table))
    }

    /// Reserves a file descriptor for a connection to a backend. If none is left, closes the
    /// worker's idle connections to backends first; returns `None` if that does not help.
    pub(super) fn open_backend(&self) -> Option<OpenBackend> {
        self.connections.open_backend().or_else(|| {
            self.upstreams.drop_idle();
            self.connections.open_backend()
        })
    }
}

fn selection(pool: Option<&ServedPool>, request: &routing::Request<'_>) -> Selection {
    pool.map(|pool| pool.selection(request)).unwrap_or_default()
}

/// Tells the service's connections when to end.
#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: Cell<DrainStage>,
    last: Notify,
    ending: Notify,
}

#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum DrainStage {
    #[default]
    Open,
    /// Each connection ends after its next response. Idle connections stay open for a moment, as
    /// their client may be sending a request just then.
    Last,
    /// Idle connections are closed; each other connection ends after its response.
    Ending,
}

impl Drain {
    /// Returns whether the next response of each connection is the last one on that connection.
    pub(super) fn is_last(&self) -> bool {
        self.stage.get() >= DrainStage::Last
    }

    /// Returns whether idle connections are to be closed.
    pub(super) fn has_begun(&self) -> bool {
        self.stage.get() == DrainStage::Ending
    }

    /// Makes the next response of each connection the last response of that connection.
    pub(super) fn announce(&self) {
        self.stage.set(self.stage.get().max(DrainStage::Last));
        self.last.notify_waiters();
    }

    /// Closes idle connections, and each other connection after its response.
    pub(super) fn begin(&self) {
        self.stage.set(DrainStage::Ending);
        self.last.notify_waiters();
        self.ending.notify_waiters();
    }

    /// Cancels the drain: connections that are opened from now on stay open after a response.
    pub(super) fn cancel(&self) {
        self.stage.set(DrainStage::Open);
    }

    /// Waits for [`Self::begin`]. Check [`Self::has_begun`] first: a call of `begin` before this
    /// future is first polled goes unnoticed.
    pub(super) fn beginning(&self) -> impl Future<Output = ()> {
        self.ending.notified()
    }

    /// Waits for [`Self::announce`]. Check [`Self::is_last`] first: a call of `announce` before
    /// this future is first polled goes unnoticed.
    pub(super) fn announcement(&self) -> impl Future<Output = ()> {
        self.last.notified()
    }
}

/// The client at the other end of a connection.
#[derive(Debug)]
pub(super) struct Client {
    /// The client's IP address; an IPv4-mapped IPv6 address is converted to IPv4.
    pub(super) address: IpAddr,
    /// The client's IP address as text.
    pub(super) text: String,
    /// A hash of the client's address, which is the same in every worker and process.
    pub(super) hash: u64,
    /// The client's port.
    pub(super) port: u16,
    /// The TLS session of the connection; empty without TLS.
    pub(super) tls: TlsSession,
    /// The connection's entry in the worker's registry of connections.
    pub(super) entry: Rc<Entry>,
    /// Header lines for backends that describe the client's certificate, CR LF included; `None` if
    /// the client has presented none.
    pub(super) certificate: Option<Box<[u8]>>,
}

impl Client {
    /// Creates the client with this address and port, whose connection has this entry in the
    /// worker's registry of connections.
    pub(super) fn new((address, port): (IpAddr, u16), entry: &Rc<Entry>) -> Self {
        let hash = match address {
            IpAddr::V4(address) => mix(u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                mix(mix(bits as u64) ^ (bits >> 64) as u64)
            }
        };
        Self {
            address,
            text: address.to_string(),
            hash,
            port,
            tls: TlsSession::default(),
            entry: Rc::clone(entry),
            certificate: None,
        }
    }

    /// Returns whether the client is a configured proxy, whose `X-Forwarded-*` fields are trusted.
    pub(super) fn is_trusted(&self, limits: &Http) -> bool {
        is_trusted(self.address, limits)
    }
}

/// Returns whether a client is a configured proxy, whose `X-Forwarded-*` fields are trusted.
pub(super) fn is_trusted(client: IpAddr, limits: &Http) -> bool {
    let trusted = &limits.trusted_proxies;
    !trusted.is_empty() && trusted.iter().any(|proxy| proxy.to_canonical() == client)
}

/// Returns a service that no worker serves, and the counters that it uses.
#[cfg(test)]
pub(super) fn test_front() -> (Rc<Front>, Arc<WorkerCounters>) {
    let name = Name::parse("web").expect("a good name");
    let text = r#"
        [node]
        name = "lb-a"
        interface = "lo"
        [[pool]]
        name = "web"
        backends = ["127.0.0.1:8081"]
        [[service]]
        name = "web"
        listen = "127.0.0.1:8080"
        mode = "http"
        pool = "web"
    "#;
    let parsed = Config::parse(Path::new("lb.toml"), text).expect("a good file");
    let service = &parsed.config.services[0];
    let counters = Arc::<WorkerCounters>::default();
    let context = WorkerContext {
        upstreams: Rc::default(),
        buffers: BufferPool::new(MemoryBudget::new(&counters)),
        connections: Connections::new(&Arc::default()),
        challenges: Challenges::default(),
        early_ends: Arc::default(),
    };
    let settings = Settings {
        limits: Rc::new(parsed.config.http.clone()),
        tls: None,
        log: None,
    };
    let service = (name.clone(), service.listen);
    let settings = (settings, RoutePlan::default());
    let front = Front::new(service, counters.service(&name), context, settings);
    (Rc::new(front), counters)
}
