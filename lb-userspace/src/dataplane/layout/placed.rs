//! A service and its backends, with the entries that they have in the BPF maps.

use std::{net::IpAddr, sync::Arc};

use lb_common::{
    backend::{Backend, BackendId, BackendState},
    ring::{self, Member, Ring},
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
};

use crate::{
    config::{self, Balance, Forward, Mode, Name},
    dataplane::{
        Error,
        map_ids::{BackendIdentity, MapIds},
        rings::Filled,
    },
    pool::PoolView,
};

/// A service with the entries that it has in the BPF maps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataplane) struct Placed {
    pub(in crate::dataplane) key: ServiceKey,
    pub(in crate::dataplane) name: Name,
    /// The service's value in the map `services`.
    pub(in crate::dataplane) value: Service,
    /// The ring: an array of slots that name backends, by which a new connection of the service
    /// finds its backend. `None` if the kernel does not steer the service.
    pub(in crate::dataplane) ring: Option<Arc<Ring>>,
    /// The number of slots for which the service's ring (the array in whose slots new connections
    /// find their backends) has room.
    pub(in crate::dataplane) capacity: u32,
    pub(in crate::dataplane) backends: Vec<PlacedBackend>,
    /// The name of the service's pool; `None` for a service that the agent serves and whose routes
    /// name its pools.
    pub(super) pool: Option<Name>,
    balance: Balance,
}

impl Placed {
    pub(super) fn new(
        service: &config::Service,
        key: ServiceKey,
        view: Option<&PoolView>,
        numbers: &mut MapIds,
    ) -> Result<Self, Error> {
        let id = numbers.service(key)?;
        let forward = match service.mode {
            Mode::Tcp { forward } => Some(forward),
            _ => None,
        };
        let steered = forward.is_some();
        let backends = if let (Some(forward), Some(view)) = (forward, view) {
            view.pool
                .backends
                .iter()
                .zip(view.taken_states())
                .map(|(backend, state)| {
                    PlacedBackend::new((id, key), forward, backend, state, numbers)
                })
                .collect::<Result<_, Error>>()?
        } else {
            Vec::new()
        };
        // The kernel does not steer a service without a pool, so it does not use this balancing
        // method.
        let balance = view.map_or(Balance::RoundRobin, |view| view.pool.balance);
        let handling = match forward {
            Some(Forward::Nat) => Handling::Nat,
            Some(Forward::Dnat) => Handling::Dnat,
            None => Handling::Agent,
        };
        let value = Service {
            id,
            handling: handling as u8,
            pick: pick(balance) as u8,
            retries: view.map_or(0, |view| view.pool.retries),
            reserved: [0; 11],
        };
        let mut placed = Self {
            key,
            name: service.name.clone(),
            value,
            ring: None,
            capacity: 0,
            backends,
            pool: view.map(|view| view.pool.name.clone()),
            balance,
        };
        if steered {
            placed.fill_ring();
        }
        Ok(placed)
    }

    /// Fills the slots of the service's ring (the array in whose slots new connections find their
    /// backends) with the backends that accept new connections.
    fn fill_ring(&mut self) {
        if self.value.is_served_by_agent() {
            return;
        }
        let members: Vec<Member> = self
            .backends
            .iter()
            .filter(|backend| backend.value.state == BackendState::Up.number())
            .map(|backend| Member {
                id: backend.id,
                identity: (backend.value.address, backend.value.port),
                weight: backend.weight,
            })
            .collect();
        let weights: Vec<u16> = self.backends.iter().map(|backend| backend.weight).collect();
        let hashed = ring::capacity_of(&weights);
        let ring;
        (ring, self.capacity) = match pick(self.balance) {
            Pick::RoundRobin => (
                Ring::round_robin(&members, &weights),
                Ring::round_length(&weights).unwrap_or(hashed),
            ),
            Pick::FlowHash | Pick::SourceHash => (Ring::maglev(&members, hashed), hashed),
        };
        self.ring = Some(Arc::new(ring));
    }

    /// Returns this service with its backends in the states that `view` says, and with a ring of
    /// those that accept new connections.
    pub(super) fn with_states(&self, view: &PoolView) -> Self {
        let mut next = self.clone();
        let mut same = true;
        // `view` belongs to the configuration in force, so it has the same backends, in the same
        // order.
        for (backend, state) in next.backends.iter_mut().zip(view.taken_states()) {
            same &= backend.value.state == state.number();
            backend.value.state = state.number();
        }
        if !same {
            next.fill_ring();
        }
        next
    }

    /// Returns the service's ring (the array in whose slots new connections find their backends) in
    /// the form in which it is written to the map `rings`; `None` if the service has no ring.
    pub(in crate::dataplane) fn filled(&self) -> Option<Filled<'_>> {
        self.ring.as_ref().map(|ring| Filled {
            service: self.value.id,
            capacity: self.capacity,
            slots: &ring.slots,
        })
    }
}

/// Returns the kernel's method for a balancing method of the configuration. Methods that depend on
/// load or requests are for the HTTP front; the configuration rejects them for a service that the
/// kernel steers.
const fn pick(balance: Balance) -> Pick {
    match balance {
        Balance::RoundRobin | Balance::LeastConnections | Balance::RandomTwo | Balance::Hash => {
            Pick::RoundRobin
        }
        Balance::Source => Pick::SourceHash,
        Balance::Maglev => Pick::FlowHash,
    }
}

/// A backend with the entries that it has in the BPF maps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataplane) struct PlacedBackend {
    pub(in crate::dataplane) id: BackendId,
    pub(in crate::dataplane) name: Name,
    /// The backend's value in the map `backends`.
    pub(in crate::dataplane) value: Backend,
    weight: u16,
}

impl PlacedBackend {
    fn new(
        (service, key): (ServiceId, ServiceKey),
        forward: Forward,
        backend: &config::Backend,
        state: BackendState,
        numbers: &mut MapIds,
    ) -> Result<Self, Error> {
        let IpAddr::V4(address) = backend.address.ip() else {
            return Err(Error::BackendAddress(backend.name.clone()));
        };
        let (address, port) = (address.octets(), backend.address.port());
        let id = numbers.backend((service, address, port))?;
        let dnat = forward == Forward::Dnat;
        let (row, rows) = if dnat {
            (0, 0)
        } else {
            numbers.rows((address, port, key.address))?
        };
        let value = Backend {
            address,
            port,
            service,
            state: state.number(),
            dnat: u8::from(dnat),
            row,
            rows,
            service_port: key.port,
            service_address: key.address,
            reserved: [0; 8],
        };
        Ok(Self {
            id,
            name: backend.name.clone(),
            value,
            weight: backend.weight.get(),
        })
    }

    /// Returns what identifies the backend across reloads: service number, address and port.
    pub(in crate::dataplane) fn identity(&self) -> BackendIdentity {
        (self.value.service, self.value.address, self.value.port)
    }
}
