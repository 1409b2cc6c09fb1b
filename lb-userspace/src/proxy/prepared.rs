//! A new configuration for which all steps that can fail are done, and the state of the front that
//! outlives a change of configuration.

use std::{
    collections::HashMap,
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    error::Error,
    front::RoutePlan,
    listener,
    routing::Table,
    served_pool::PoolPlan,
    served_tls::{Keys, ServedTls},
    shared_pools::SharedPools,
    worker::FrontPlan,
};
use crate::{
    access_log::{self, AccessLog},
    config::{self, Name, Service},
    pool::PoolView,
};

/// A service for the front to serve, with channels that deliver the current states of its pools.
#[derive(Clone, Debug)]
pub struct Frontend {
    /// The configured service, whose mode is `http` or `https`.
    pub service: Service,
    /// Whether the service's address moves between the hosts of a pair; such an address is bound
    /// also while the other host has it.
    pub moves: bool,
    /// For each pool of the service, by its name, the channel that delivers snapshots of the pool.
    /// A backend that is not up in the latest snapshot gets no new request.
    pub pools: HashMap<Name, watch::Receiver<Arc<PoolView>>>,
}

/// The state of the front that is kept from one configuration to the next.
#[derive(Default)]
pub(super) struct State {
    /// The listening sockets of each address, to be passed to the process that takes over in an
    /// upgrade. The workers have their own descriptors of the same sockets, so a socket is closed
    /// when both descriptors are.
    pub(super) bound: HashMap<SocketAddr, Vec<TcpListener>>,
    /// The listening sockets that this process inherited from the one before it in an upgrade, and
    /// that no service uses yet, by address.
    pub(super) inherited: HashMap<SocketAddr, Vec<TcpListener>>,
    /// The services with TLS, and the configuration that each has in force.
    pub(super) tls: Vec<(Service, ServedTls)>,
    pub(super) access_log: Option<AccessLog>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("bound", &self.bound)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Opens the access log of a new configuration, or keeps the current access log open if both
    /// write to the same target.
    pub(super) fn access_log(
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

    /// Replaces the state by that of the new configuration. Must be called before the workers
    /// switch to that configuration: a worker that stops listening on an address still accepts the
    /// connections that wait in the socket, and its descriptor of the socket must be the last one.
    pub(super) fn commit(
        &mut self,
        prepared: &mut [PreparedService],
        access_log: Option<AccessLog>,
    ) {
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

/// A service for which all steps that can fail are done.
pub(super) struct PreparedService {
    frontend: Frontend,
    tls: Option<ServedTls>,
    /// New listening sockets, one list for each worker; empty if the service's address was bound
    /// already.
    listeners: Vec<Vec<TcpListener>>,
    /// Duplicates of the sockets in `listeners`, for [`State::bound`].
    bound: Vec<TcpListener>,
    routes: RoutePlan,
}

/// Does everything that can fail for every service: reads files, opens listening sockets, compiles
/// routes.
///
/// # Errors
/// All errors of all services.
pub(super) fn prepare_all(
    state: &mut State,
    frontends: Vec<Frontend>,
    keys: Keys<'_>,
    shared: &SharedPools,
    workers: usize,
) -> Result<Vec<PreparedService>, Vec<Error>> {
    let mut errors = same_addresses(&frontends);
    let mut prepared = Vec::new();
    for frontend in frontends {
        match PreparedService::new(state, frontend, keys, shared, workers) {
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

impl PreparedService {
    fn new(
        state: &mut State,
        frontend: Frontend,
        keys: Keys<'_>,
        shared: &SharedPools,
        workers: usize,
    ) -> Result<Self, Vec<Error>> {
        let mut prepared = Self {
            tls: None,
            listeners: Vec::new(),
            bound: Vec::new(),
            routes: RoutePlan::default(),
            frontend,
        };
        let mut errors = Vec::new();
        match ServedTls::load(&prepared.frontend.service, keys) {
            Ok(tls) => prepared.tls = tls,
            Err(more) => errors = more,
        }
        if let Err(source) = prepared.listen(state, workers) {
            let Service { name, listen, .. } = &prepared.frontend.service;
            errors.push(Error::Listen {
                service: name.clone(),
                address: *listen,
                source,
            });
        }
        errors.extend(prepared.set_up_routes(shared).err().unwrap_or_default());
        if errors.is_empty() {
            Ok(prepared)
        } else {
            Err(errors)
        }
    }

    /// Opens listening sockets for the workers, unless the service's address is bound already.
    fn listen(&mut self, state: &mut State, workers: usize) -> io::Result<()> {
        let address = self.frontend.service.listen;
        if state.bound.contains_key(&address) {
            return Ok(());
        }
        let inherited = state.inherited.remove(&address).unwrap_or_default();
        let listeners = listener::bind(address, self.frontend.moves, workers, inherited)?;
        let other = listeners.iter().map(TcpListener::try_clone);
        self.bound = other.collect::<io::Result<_>>()?;
        self.listeners = listener::distribute(listeners, workers);
        Ok(())
    }

    fn set_up_routes(&mut self, shared: &SharedPools) -> Result<(), Vec<Error>> {
        let Frontend { service, pools, .. } = &self.frontend;
        let feeds = service.pools().into_iter().map(|pool| {
            let feed = pools.get(&pool.name).cloned();
            let feed = feed.ok_or_else(|| {
                vec![Error::NoPool {
                    service: service.name.clone(),
                    pool: pool.name.clone(),
                }]
            });
            let shared = shared.of(pool).map_err(|error| vec![error])?;
            Ok(PoolPlan {
                name: pool.name.clone(),
                feed: feed?,
                shared,
            })
        });
        self.routes = RoutePlan {
            // If the service has a pool of its own, that pool is the first in the list of its
            // pools.
            default: service.pool.as_ref().map(|_own| 0),
            pools: feeds.collect::<Result<_, Vec<Error>>>()?,
            table: Table::compile(service)?,
        };
        Ok(())
    }

    /// Returns what the next worker needs in order to serve the service, including that worker's
    /// listening sockets.
    pub(super) fn plan(&mut self) -> FrontPlan {
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
