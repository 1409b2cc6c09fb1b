//! The effective configuration: that of the file, with the backends that were discovered.
//!
//! A backend that the parser would refuse in a file is excluded here, and the others are used: an
//! unusable address in a source does not keep the usable ones out of their pool.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::limits;

use super::{Action, Backend, Config, Mode, Name, Pool, Route, Service};

/// The discovered backends of each pool that discovers its backends.
pub type DiscoveredPools = BTreeMap<Name, Vec<Backend>>;

/// A configuration with the backends that were discovered.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The configuration. The backends of a pool that discovers them are sorted by their addresses,
    /// so that both hosts of a pair have them in the same order.
    pub config: Config,
    /// The discovered backends that cannot be used, each with the reason.
    pub excluded: Vec<Excluded>,
}

/// A discovered backend that cannot be used.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Excluded {
    /// The name of the backend's pool.
    pub pool: Name,
    /// The address and port of the backend.
    pub address: SocketAddr,
    /// Why it cannot be used.
    pub reason: Exclusion,
}

/// Why a discovered backend cannot be used.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Exclusion {
    /// The address is not that of one host, or the port is 0.
    NotAnAddress,
    /// The address is an IPv4 address in the form of IPv6, such as `::ffff:10.0.0.6`.
    Mapped,
    /// The address has a zone, so it is valid on one link only.
    Zoned,
    /// The address is the listen address of this service, which would connect to itself.
    OwnListener(Name),
    /// A service of mode `tcp` uses the pool, and the address is IPv6.
    NotIpv4,
    /// A service of mode `tcp` uses the pool, and the address is a loopback address.
    Loopback,
    /// A service of mode `tcp` uses the pool, and the backend is a backup.
    Backup,
    /// With this backend, the services of mode `tcp` have more backends than the kernel's tables
    /// hold.
    TooMany,
    /// This host has no way to the backend through an interface with the XDP program, for this
    /// reason.
    Unreachable(String),
}

impl fmt::Display for Exclusion {
    /// Formats the reason as the end of a sentence that begins with the backend.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAddress => f.write_str("it is not the address of one host"),
            Self::Mapped => f.write_str("it is an IPv4-mapped IPv6 address"),
            Self::Zoned => f.write_str("it has a zone, and link-local addresses are not supported"),
            Self::OwnListener(service) => {
                write!(
                    f,
                    "service {service} listens on it and would connect to itself"
                )
            }
            Self::NotIpv4 => {
                f.write_str("a service of mode tcp uses the pool, and the kernel steers IPv4 only")
            }
            Self::Loopback => f.write_str(
                "a service of mode tcp uses the pool, and the kernel cannot steer to loopback",
            ),
            Self::Backup => {
                f.write_str("a service of mode tcp uses the pool, and has no backup backends")
            }
            Self::TooMany => write!(
                f,
                "the services of mode tcp have {} backends, which is the limit",
                limits::BACKENDS
            ),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

impl Config {
    /// Returns this configuration with the backends that were discovered: every pool with
    /// `[pool.discover]` gets those of `found` that it can use. Other pools keep theirs.
    ///
    /// The backends that such a pool has in this configuration are in force. They have precedence
    /// over new ones if there is not room for all. If the source makes one of them a backup, and
    /// the pool cannot have backups, that backend is drained rather than removed.
    #[must_use]
    pub fn with_discovered(&self, found: &DiscoveredPools) -> Effective {
        let mut excluded = Vec::new();
        let mut room = self.room_for_discovered();
        let pools = self.pools.iter().map(|pool| {
            if pool.discover.is_none() {
                return Arc::clone(pool);
            }
            let backends = found.get(&pool.name).cloned().unwrap_or_default();
            let uses = Uses::of(pool, &self.services);
            let mut backends = uses.usable(pool, backends, &mut excluded);
            uses.limit(pool, &mut backends, &mut room, &mut excluded);
            Arc::new(Pool {
                backends,
                ..Pool::clone(pool)
            })
        });
        let pools: Vec<_> = pools.collect();
        let mut config = self.clone();
        for service in &mut config.services {
            replace_pools(service, &pools);
        }
        config.pools = pools;
        excluded.sort_unstable();
        Effective { config, excluded }
    }

    /// Returns this configuration, in which the pools that discover their backends have those that
    /// the pools of the same names have in another configuration, which is in force.
    #[must_use]
    pub fn keeping_backends_of(mut self, in_force: &Self) -> Self {
        for pool in self.pools.iter_mut().filter(|pool| pool.discover.is_some()) {
            let old = in_force.pools.iter().find(|old| old.name == pool.name);
            if let Some(old) = old {
                Arc::make_mut(pool).backends.clone_from(&old.backends);
            }
        }
        self
    }

    /// Whether any pool discovers its backends.
    #[must_use]
    pub fn discovers(&self) -> bool {
        self.pools.iter().any(|pool| pool.discover.is_some())
    }

    /// Returns how many backends the kernel's tables can hold besides those of pools that list
    /// their backends. Each backend takes a row of source ports for each address that it sees.
    fn room_for_discovered(&self) -> usize {
        let steered = self.services.iter().filter(|service| is_steered(service));
        let listed = steered.filter_map(|service| service.pool.as_ref());
        let listed = listed.filter(|pool| pool.discover.is_none());
        let listed: usize = listed.map(|pool| pool.backends.len()).sum();
        let rows_each = 1 + self.dataplane.source_addresses.len();
        let most = (limits::BACKENDS as usize).min(limits::ROWS as usize / rows_each);
        most.saturating_sub(listed)
    }
}

/// What restricts the backends of a pool: the services that use it.
struct Uses<'c> {
    /// The names and listen addresses of the services.
    listeners: Vec<(&'c Name, SocketAddr)>,
    /// How many of the services have the mode `tcp`.
    steered: usize,
}

impl<'c> Uses<'c> {
    fn of(pool: &Pool, services: &'c [Service]) -> Self {
        let uses = |service: &&Service| service.pools().iter().any(|one| one.name == pool.name);
        let users: Vec<_> = services.iter().filter(uses).collect();
        Self {
            listeners: users.iter().map(|one| (&one.name, one.listen)).collect(),
            steered: users.iter().filter(|service| is_steered(service)).count(),
        }
    }

    /// Returns the backends that the pool can use, sorted by their addresses, each address once and
    /// each with a unique name. The others are added to `excluded`.
    fn usable(
        &self,
        pool: &Pool,
        mut backends: Vec<Backend>,
        excluded: &mut Vec<Excluded>,
    ) -> Vec<Backend> {
        // Of two entries for one address, one that is not leaving is kept.
        backends.sort_by_key(|backend| (backend.address, backend.leaving));
        backends.dedup_by_key(|backend| backend.address);
        backends.retain_mut(|backend| {
            let Some(reason) = self.obstacle(backend) else {
                return true;
            };
            let is_drained = reason == Exclusion::Backup && pool.has_backend_at(backend.address);
            if is_drained {
                (backend.backup, backend.leaving) = (false, true);
            }
            excluded.push(Excluded {
                pool: pool.name.clone(),
                address: backend.address,
                reason,
            });
            is_drained
        });
        name_uniquely(&mut backends);
        // Backups in a pool without other backends are used as ordinary backends.
        if backends.iter().all(|backend| backend.backup) {
            for backend in &mut backends {
                backend.backup = false;
            }
        }
        backends
    }

    fn obstacle(&self, backend: &Backend) -> Option<Exclusion> {
        let ip = backend.address.ip();
        let is_steered = self.steered > 0;
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || is_broadcast || backend.address.port() == 0 {
            return Some(Exclusion::NotAnAddress);
        }
        if let SocketAddr::V6(v6) = backend.address {
            if v6.scope_id() != 0 {
                return Some(Exclusion::Zoned);
            }
            if v6.ip().to_ipv4_mapped().is_some() {
                return Some(Exclusion::Mapped);
            }
        }
        let mut listeners = self.listeners.iter();
        if let Some((service, _)) = listeners.find(|(_, listen)| *listen == backend.address) {
            return Some(Exclusion::OwnListener((*service).clone()));
        }
        let obstacles = [
            (ip.is_ipv6(), Exclusion::NotIpv4),
            (ip.is_loopback(), Exclusion::Loopback),
            (backend.backup, Exclusion::Backup),
        ];
        let mut obstacles = obstacles
            .into_iter()
            .filter(|(is_there, _)| *is_there && is_steered);
        obstacles.next().map(|(_, reason)| reason)
    }

    /// Removes the backends for which the kernel's tables have no room, and subtracts the others
    /// from `room`. Backends that are leaving are removed first, then those that are not in force.
    fn limit(
        &self,
        pool: &Pool,
        backends: &mut Vec<Backend>,
        room: &mut usize,
        excluded: &mut Vec<Excluded>,
    ) {
        if self.steered == 0 {
            return;
        }
        let most = *room / self.steered;
        if backends.len() > most {
            let rank = |backend: &Backend| {
                let is_new = !pool.has_backend_at(backend.address);
                (backend.leaving, is_new, backend.address)
            };
            backends.sort_by_key(rank);
            excluded.extend(backends.drain(most..).map(|backend| Excluded {
                pool: pool.name.clone(),
                address: backend.address,
                reason: Exclusion::TooMany,
            }));
            backends.sort_by_key(|backend| backend.address);
        }
        *room -= backends.len() * self.steered;
    }
}

fn is_steered(service: &Service) -> bool {
    matches!(service.mode, Mode::Tcp { .. })
}

/// Names a backend after its address if its name is also that of another backend, or the address of
/// another backend: that one may have to be named after its address, too.
fn name_uniquely(backends: &mut [Backend]) {
    let mut claims: HashMap<Name, usize> = HashMap::new();
    for backend in &*backends {
        let by_address = Name::of_address(backend.address);
        if backend.name != by_address {
            *claims.entry(backend.name.clone()).or_default() += 1;
        }
        *claims.entry(by_address).or_default() += 1;
    }
    for backend in backends {
        if claims.get(&backend.name).is_some_and(|claims| *claims > 1) {
            backend.name = Name::of_address(backend.address);
        }
    }
}

/// Replaces the pools of a service and of its routes by those of the same names.
fn replace_pools(service: &mut Service, pools: &[Arc<Pool>]) {
    let named = |name: &Name| pools.iter().find(|pool| pool.name == *name);
    if let Some(pool) = &mut service.pool
        && let Some(new) = named(&pool.name)
    {
        *pool = Arc::clone(new);
    }
    let discovers = |route: &Route| route.pool().is_some_and(|pool| pool.discover.is_some());
    if !service.routing.routes.iter().any(discovers) {
        return;
    }
    for route in &mut Arc::make_mut(&mut service.routing).routes {
        if let Action::Pool { pool, .. } = &mut route.action
            && let Some(new) = named(&pool.name)
        {
            *pool = Arc::clone(new);
        }
    }
}
