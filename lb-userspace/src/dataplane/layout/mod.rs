//! The contents that the BPF maps must have for services and backends.
//!
//! Pure functions compute the contents of the maps from a configuration. Services and backends keep
//! their numbers across reloads and restarts, because flows and counters refer to them.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    backend::{Backend, BackendId},
    service::{Service, ServiceKey},
    wire::PROTOCOL_TCP,
};

use super::{
    Error,
    map_ids::{BackendIdentity, MapIds},
};
use crate::{
    config::{self, Mode, Name},
    pool::PoolView,
};

mod placed;
#[cfg(test)]
mod tests;

pub(super) use placed::{Placed, PlacedBackend};

/// The contents that the BPF maps must have.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// The services that the kernel must know, in the order of the configuration.
    pub(super) services: Vec<Placed>,
    /// The numbers that are allocated to services, to backends, and to the rows of the map
    /// `source_ports` (each has the source ports to one backend).
    pub(super) numbers: MapIds,
    /// Additional source addresses that backends see; each backend has a row of source ports for
    /// each of them.
    pub(super) source_addresses: Vec<[u8; 4]>,
    /// The services that use each pool and that the kernel steers, as indices into `services`.
    of_pool: HashMap<Name, Vec<usize>>,
}

/// A service whose backends changed their states, with its index in [`Layout::services`].
#[derive(Debug)]
pub(super) struct Changed {
    place: usize,
    /// The service with the new states of its backends.
    pub(super) service: Placed,
}

impl Layout {
    /// Builds the layout (the contents that the BPF maps must have) from the maps that an earlier
    /// agent left. It has the allocated numbers, but no services, because the maps do not have
    /// their names.
    pub(super) fn adopted(
        services: &[(ServiceKey, Service)],
        backends: &[(BackendId, Backend)],
        source_addresses: Vec<[u8; 4]>,
    ) -> Self {
        let further = u16::try_from(source_addresses.len()).unwrap_or_default();
        let mut numbers = MapIds::with_rows(1 + further);
        for (key, value) in services {
            numbers.services.restore(*key, value.id);
        }
        for (id, value) in backends {
            let identity = (value.service, value.address, value.port);
            numbers.backends.restore(identity, *id);
            if value.rows > 0 {
                numbers.keep_rows(value);
            }
        }
        Self {
            numbers,
            source_addresses,
            ..Self::default()
        }
    }

    /// Returns the contents that the BPF maps must have for a new configuration. Services and
    /// backends that are in this layout keep their numbers.
    pub(super) fn next(
        &self,
        services: &[config::Service],
        pools: &[Arc<PoolView>],
    ) -> Result<Self, Error> {
        let mut numbers = self.numbers.clone();
        let visible: Vec<(&config::Service, ServiceKey)> = services
            .iter()
            .filter_map(|service| key_of(service).transpose().map(|key| (service, key)))
            .map(|(service, key)| key.map(|key| (service, key)))
            .collect::<Result<_, Error>>()?;
        let keys: HashSet<ServiceKey> = visible.iter().map(|(_service, key)| *key).collect();
        numbers.services.retain(|key| keys.contains(key));
        numbers.keep_owners(&visible);
        let pools: HashMap<&Name, &Arc<PoolView>> =
            pools.iter().map(|view| (&view.pool.name, view)).collect();
        let placed = Self::place(&visible, &pools, &mut numbers).or_else(|_full| {
            // Backends that were removed have kept their numbers, so that no packet in flight is
            // steered to another backend, and their source ports. If there is no room otherwise,
            // both are reused.
            numbers = self.numbers.clone();
            numbers.services.retain(|key| keys.contains(key));
            numbers.keep_owners(&visible);
            let stays = staying(&visible, &numbers);
            numbers.backends.retain(|identity| stays.contains(identity));
            let addresses = stays.iter().map(|&(_, address, port)| (address, port));
            numbers.retain_rows(&addresses.collect());
            Self::place(&visible, &pools, &mut numbers)
        })?;
        let used: HashSet<BackendIdentity> = placed
            .iter()
            .flat_map(|service| &service.backends)
            .map(PlacedBackend::identity)
            .collect();
        numbers.backends.retain(|identity| used.contains(identity));
        Ok(Self::of(placed, numbers, self.source_addresses.clone()))
    }

    /// Allocates numbers for all services and their backends, and returns them with their map
    /// entries.
    fn place(
        services: &[(&config::Service, ServiceKey)],
        pools: &HashMap<&Name, &Arc<PoolView>>,
        numbers: &mut MapIds,
    ) -> Result<Vec<Placed>, Error> {
        services
            .iter()
            .map(|(service, key)| {
                let view = service.pool.as_ref().map(|pool| {
                    let view = pools.get(&pool.name).copied();
                    view.ok_or_else(|| Error::UnknownPool(pool.name.clone()))
                });
                let view = view.transpose()?;
                Placed::new(service, *key, view.map(|view| &**view), numbers)
            })
            .collect()
    }

    fn of(services: Vec<Placed>, numbers: MapIds, source_addresses: Vec<[u8; 4]>) -> Self {
        let mut of_pool: HashMap<Name, Vec<usize>> = HashMap::new();
        for (place, service) in services.iter().enumerate() {
            if let (Some(_ring), Some(pool)) = (&service.ring, &service.pool) {
                of_pool.entry(pool.clone()).or_default().push(place);
            }
        }
        Self {
            services,
            numbers,
            source_addresses,
            of_pool,
        }
    }

    /// Returns the services whose map entries change when the backends of these pools get the
    /// states that `pools` says.
    pub(super) fn changed_by(&self, pools: &[Arc<PoolView>]) -> Vec<Changed> {
        let places = pools.iter().flat_map(|view| {
            let places = self
                .of_pool
                .get(&view.pool.name)
                .map_or(&[][..], Vec::as_slice);
            places.iter().map(move |place| (*place, view))
        });
        let changed = places.filter_map(|(place, view)| {
            let before = &self.services[place];
            let service = before.with_states(view);
            (service != *before).then_some(Changed { place, service })
        });
        changed.collect()
    }

    /// Returns a changed service as it was before the change.
    pub(super) fn before(&self, changed: &Changed) -> &Placed {
        &self.services[changed.place]
    }

    /// Records that the BPF maps contain these changes now.
    pub(super) fn commit(&mut self, changed: Vec<Changed>) {
        for Changed { place, service } in changed {
            self.services[place] = service;
        }
    }
}

/// Returns the backends that have a number already and are still configured.
fn staying(
    services: &[(&config::Service, ServiceKey)],
    numbers: &MapIds,
) -> HashSet<BackendIdentity> {
    let steered = services.iter().filter_map(|(service, key)| {
        let id = numbers.services.get(key)?;
        let backends = service.pool.iter().flat_map(|pool| &pool.backends);
        Some(backends.map(move |one| (id, one)))
    });
    let identities = steered.flatten().filter_map(|(service, backend)| {
        let IpAddr::V4(address) = backend.address.ip() else {
            return None;
        };
        Some((service, address.octets(), backend.address.port()))
    });
    identities.collect()
}

/// Returns the key that a service has in the map `services`; `None` if the kernel cannot recognise
/// the service's packets, and an error if it must steer them.
fn key_of(service: &config::Service) -> Result<Option<ServiceKey>, Error> {
    let steered = matches!(service.mode, Mode::Tcp { .. });
    match service.listen {
        SocketAddr::V4(listen) if !listen.ip().is_unspecified() => Ok(Some(ServiceKey {
            address: listen.ip().octets(),
            port: listen.port(),
            protocol: u16::from(PROTOCOL_TCP),
        })),
        _ if !steered => Ok(None),
        _ => Err(Error::ServiceAddress {
            service: service.name.clone(),
            listen: service.listen,
        }),
    }
}
