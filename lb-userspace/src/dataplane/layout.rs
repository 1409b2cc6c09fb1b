//! What the maps say of services and backends.
//!
//! Pure: what a configuration asks for in, what the maps are to hold out. Numbers stay with their
//! service and backend across reloads and restarts, for flows and counters refer to them.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    backend::{Backend, BackendId, BackendState},
    ring::{self, Member, Ring},
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
    wire::PROTOCOL_TCP,
};

use super::{
    Error,
    map_ids::{BackendIdentity, MapIds},
    rings::Filled,
};
use crate::{
    config::{self, Balance, Forward, Mode, Name},
    pool::PoolView,
};

/// What the maps hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// The services that the kernel sees, in the order of the configuration.
    pub(super) services: Vec<Placed>,
    /// Who has which number.
    pub(super) numbers: MapIds,
    /// What backends see besides the service's address, a row of source ports for each.
    pub(super) source_addresses: Vec<[u8; 4]>,
    /// The steered services of each pool, by their places in `services`.
    of_pool: HashMap<Name, Vec<usize>>,
}

/// A service with its place in the maps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) key: ServiceKey,
    pub(super) name: Name,
    /// The value of the map `services`.
    pub(super) value: Service,
    /// For a service that is steered in the kernel.
    pub(super) ring: Option<Arc<Ring>>,
    /// Slots that the ring may ever have.
    pub(super) capacity: u32,
    pub(super) backends: Vec<PlacedBackend>,
    /// `None` for a service of the agent whose routes name all pools.
    pool: Option<Name>,
    balance: Balance,
}

/// A service that is to be written, by its place in [`Layout::services`].
#[derive(Debug)]
pub(super) struct Changed {
    place: usize,
    /// The service as it is to be.
    pub(super) service: Placed,
}

/// A backend with its place in the maps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlacedBackend {
    pub(super) id: BackendId,
    pub(super) name: Name,
    /// The value of the map `backends`.
    pub(super) value: Backend,
    weight: u16,
}

impl Layout {
    /// What an earlier agent left in the maps: the numbers count, the names are not there.
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

    /// What the maps are to hold for this configuration.
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
            // Those that leave have kept their numbers, so that no packet under way takes one of
            // them for another backend. Where there is no other room, theirs is used.
            numbers = self.numbers.clone();
            numbers.services.retain(|key| keys.contains(key));
            numbers.keep_owners(&visible);
            let stays = staying(&visible, &numbers);
            numbers.backends.retain(|identity| stays.contains(identity));
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

    /// Gives every service and backend its place.
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

    /// The services that change when the backends of these pools have the states that they have in
    /// the views.
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

    /// The service as it was before the change.
    pub(super) fn before(&self, changed: &Changed) -> &Placed {
        &self.services[changed.place]
    }

    /// Notes that the maps hold these changes.
    pub(super) fn commit(&mut self, changed: Vec<Changed>) {
        for Changed { place, service } in changed {
            self.services[place] = service;
        }
    }
}

/// The backends that have a number and are still in the configuration.
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

/// The key of a service, if the kernel can see it; an error if it would have to and cannot.
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

impl Placed {
    fn new(
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
        // What has none is the agent's alone, which looks at neither.
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

    /// Fills the ring from the backends that take new connections.
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

    /// The same service with its backends in the states of this view of its pool.
    fn with_states(&self, view: &PoolView) -> Self {
        let mut next = self.clone();
        let mut same = true;
        // The view is of the configuration in force: its backends are these, in this order.
        for (backend, state) in next.backends.iter_mut().zip(view.taken_states()) {
            same &= backend.value.state == state.number();
            backend.value.state = state.number();
        }
        if !same {
            next.fill_ring();
        }
        next
    }

    /// The ring as it is to be written, for a service that has one.
    pub(super) fn filled(&self) -> Option<Filled<'_>> {
        self.ring.as_ref().map(|ring| Filled {
            service: self.value.id,
            capacity: self.capacity,
            slots: &ring.slots,
        })
    }
}

/// How the kernel picks for a balance. Those that look at load or at requests are for the HTTP front; the
/// configuration refuses them for a steered service.
const fn pick(balance: Balance) -> Pick {
    match balance {
        Balance::RoundRobin | Balance::LeastConnections | Balance::RandomTwo | Balance::Hash => {
            Pick::RoundRobin
        }
        Balance::Source => Pick::SourceHash,
        Balance::Maglev => Pick::FlowHash,
    }
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

    /// What makes it the same backend as before.
    pub(super) fn identity(&self) -> BackendIdentity {
        (self.value.service, self.value.address, self.value.port)
    }
}

#[cfg(test)]
mod tests {
    use lb_common::limits;

    use super::*;
    use crate::{
        config::{Pool, Weight, WhenAllDown},
        pool::AdminState,
    };

    fn pool(last_octets: &[u8]) -> Arc<Pool> {
        named("web", last_octets)
    }

    fn named(name: &str, last_octets: &[u8]) -> Arc<Pool> {
        let backends = last_octets
            .iter()
            .map(|octet| config::Backend {
                name: Name::parse(&format!("web{octet}")).expect("a name"),
                address: SocketAddr::from(([10, 0, 0, *octet], 80)),
                weight: Weight::ONE,
                backup: false,
            })
            .collect();
        Arc::new(Pool {
            name: Name::parse(name).expect("a name"),
            balance: Balance::RoundRobin,
            check: None,
            when_all_down: WhenAllDown::Refuse,
            retries: 3,
            per_request: config::PerRequest::default(),
            backends,
        })
    }

    fn service(pool: &Arc<Pool>, port: u16, mode: Mode) -> config::Service {
        config::Service {
            name: Name::parse(&format!("s{port}")).expect("a name"),
            listen: SocketAddr::from(([172, 31, 0, 68], port)),
            mode,
            pool: Some(Arc::clone(pool)),
            routing: Arc::default(),
            timeouts: config::Timeouts::default(),
        }
    }

    const STEERED: Mode = Mode::Tcp {
        forward: Forward::Nat,
    };

    fn view(pool: &Arc<Pool>, states: &[BackendState]) -> Arc<PoolView> {
        Arc::new(PoolView::new(Arc::clone(pool), states.to_vec()))
    }

    fn ids(layout: &Layout) -> Vec<BackendId> {
        layout.services[0]
            .backends
            .iter()
            .map(|backend| backend.id)
            .collect()
    }

    #[test]
    fn numbers_stay_when_the_maps_are_adopted_or_others_leave() {
        let up = BackendState::Up;
        let three = pool(&[6, 7, 9]);
        let first = Layout::default()
            .next(&[service(&three, 80, STEERED)], &[view(&three, &[up; 3])])
            .expect("fits");
        let services = [(first.services[0].key, first.services[0].value)];
        let backends: Vec<_> = first.services[0]
            .backends
            .iter()
            .map(|one| (one.id, one.value))
            .collect();
        let two = pool(&[9, 7]);
        let later = Layout::adopted(&services, &backends, Vec::new())
            .next(&[service(&two, 80, STEERED)], &[view(&two, &[up; 2])])
            .expect("fits");
        assert_eq!(ids(&first), [0, 1, 2].map(BackendId));
        assert_eq!(ids(&later), [2, 1].map(BackendId));
    }

    #[test]
    fn a_number_rests_before_another_backend_gets_it() {
        let up = BackendState::Up;
        let (old, new) = (pool(&[6]), pool(&[7]));
        let first = Layout::default()
            .next(&[service(&old, 80, STEERED)], &[view(&old, &[up])])
            .expect("fits");
        let later = first
            .next(&[service(&new, 80, STEERED)], &[view(&new, &[up])])
            .expect("fits");
        assert_eq!(
            (ids(&first), ids(&later)),
            (vec![BackendId(0)], vec![BackendId(1)])
        );
    }

    /// First row and number of rows of each backend of a service.
    fn rows(layout: &Layout, service: usize) -> Vec<(u16, u16)> {
        let backends = layout.services[service].backends.iter();
        backends
            .map(|one| (one.value.row, one.value.rows))
            .collect()
    }

    #[test]
    fn a_backend_has_a_row_for_each_source_address_and_keeps_its_rows() {
        let up = BackendState::Up;
        let further = vec![[172, 31, 0, 71], [172, 31, 0, 72]];
        let two = pool(&[6, 7]);
        let first = Layout::adopted(&[], &[], further.clone())
            .next(&[service(&two, 80, STEERED)], &[view(&two, &[up; 2])])
            .expect("fits");
        assert_eq!(rows(&first, 0), [(0, 3), (3, 3)]);
        let services = [(first.services[0].key, first.services[0].value)];
        let backends: Vec<_> = first.services[0]
            .backends
            .iter()
            .map(|one| (one.id, one.value))
            .collect();
        let three = pool(&[7, 9, 6]);
        let later = Layout::adopted(&services, &backends, further)
            .next(&[service(&three, 80, STEERED)], &[view(&three, &[up; 3])])
            .expect("fits");
        assert_eq!(rows(&later, 0), [(3, 3), (6, 3), (0, 3)]);
    }

    #[test]
    fn services_at_two_addresses_do_not_share_the_further_source_addresses() {
        let (one, up) = (pool(&[6]), [BackendState::Up]);
        let here = service(&one, 80, STEERED);
        let mut there = service(&one, 81, STEERED);
        there.listen = SocketAddr::from(([172, 31, 0, 69], 80));
        let beside = service(&one, 82, STEERED);
        let both = Layout::adopted(&[], &[], vec![[172, 31, 0, 71]])
            .next(&[here.clone(), there.clone(), beside], &[view(&one, &up)])
            .expect("fits");
        assert_eq!(rows(&both, 0), [(0, 2)]);
        assert_eq!(rows(&both, 1), [(2, 1)], "another address, no further ones");
        assert_eq!(rows(&both, 2), [(0, 2)], "the same address, the same rows");
        let exchanged = both
            .next(&[there.clone(), here], &[view(&one, &up)])
            .expect("fits");
        assert_eq!(rows(&exchanged, 0), [(2, 1)], "whoever has them keeps them");
        let alone = exchanged.next(&[there], &[view(&one, &up)]).expect("fits");
        assert_eq!(rows(&alone, 0), [(2, 2)]);
    }

    #[test]
    fn a_full_table_of_backends_can_be_exchanged_for_another() {
        let (up, most) = (BackendState::Up, limits::BACKENDS as usize);
        let crowd = |first: usize| {
            let backends = (first..first + most).map(|number| {
                let [.., a, b, c] = number.to_be_bytes();
                config::Backend {
                    name: Name::parse(&format!("b{number}")).expect("a name"),
                    address: SocketAddr::from(([10, a, b, c], 80)),
                    weight: Weight::ONE,
                    backup: false,
                }
            });
            Arc::new(Pool {
                backends: backends.collect(),
                ..(*pool(&[])).clone()
            })
        };
        let mut layout = Layout::default();
        for first in [0, most / 2] {
            let pool = crowd(first);
            layout = layout
                .next(
                    &[service(&pool, 80, STEERED)],
                    &[view(&pool, &vec![up; most])],
                )
                .expect("they have room");
            let numbers: HashSet<BackendId> = ids(&layout).into_iter().collect();
            assert_eq!(numbers.len(), most);
        }
    }

    #[test]
    fn a_backend_that_is_down_or_draining_is_in_no_slot() {
        let four = pool(&[6, 7, 9, 19]);
        let states = [
            BackendState::Up,
            BackendState::Down,
            BackendState::Draining,
            BackendState::Up,
        ];
        let mut layout = Layout::default()
            .next(
                &[service(&four, 80, STEERED)],
                &[view(&four, &[BackendState::Up; 4])],
            )
            .expect("fits");
        let changed = layout.changed_by(&[view(&four, &states)]);
        layout.commit(changed);
        let ring = layout.services[0].ring.as_ref().expect("steered");
        assert!(
            ring.slots
                .iter()
                .all(|slot| [0, 3].map(BackendId).contains(slot))
        );
        assert_eq!(
            layout.services[0].backends[1].value.state,
            BackendState::Down.number()
        );
    }

    #[test]
    fn backends_that_are_tried_while_all_are_down_are_in_the_ring() {
        let trying = Arc::new(Pool {
            when_all_down: WhenAllDown::TryAll,
            ..(*pool(&[6, 7, 9])).clone()
        });
        let mut all_down = PoolView::new(Arc::clone(&trying), vec![BackendState::Down; 3]);
        all_down.overrides[1] = AdminState::Down;
        let layout = Layout::default()
            .next(&[service(&trying, 80, STEERED)], &[Arc::new(all_down)])
            .expect("fits");
        let steered = &layout.services[0];
        assert_eq!(
            steered.ring.as_ref().expect("steered").slots,
            [0, 2].map(BackendId)
        );
        let states = steered.backends.iter().map(|one| one.value.state);
        let [up, down] = [BackendState::Up, BackendState::Down].map(BackendState::number);
        assert_eq!(states.collect::<Vec<_>>(), [up, down, up]);
    }

    #[test]
    fn a_pool_that_changes_touches_its_own_services_alone() {
        let up = BackendState::Up;
        let (web, api) = (pool(&[6, 7]), named("api", &[9]));
        let layout = Layout::default()
            .next(
                &[
                    service(&web, 80, STEERED),
                    service(&api, 81, STEERED),
                    service(&web, 82, STEERED),
                    service(&web, 443, Mode::Http),
                ],
                &[view(&web, &[up; 2]), view(&api, &[up])],
            )
            .expect("fits");
        let changed = layout.changed_by(&[view(&web, &[up, BackendState::Down])]);
        let names: Vec<_> = changed
            .iter()
            .map(|one| one.service.name.as_str())
            .collect();
        assert_eq!(names, ["s80", "s82"]);
        assert!(layout.changed_by(&[view(&web, &[up; 2])]).is_empty());
    }

    #[test]
    fn the_retries_of_a_pool_are_those_of_its_services() {
        let refusing = Arc::new(Pool {
            retries: 0,
            per_request: config::PerRequest::default(),
            ..(*pool(&[6, 7])).clone()
        });
        let layout = Layout::default()
            .next(
                &[service(&refusing, 80, STEERED)],
                &[view(&refusing, &[BackendState::Up; 2])],
            )
            .expect("fits");
        assert_eq!(layout.services[0].value.retries, 0);
    }

    #[test]
    fn the_room_for_a_ring_does_not_depend_on_states() {
        let four = pool(&[6, 7, 9, 19]);
        let room = |states: [BackendState; 4]| {
            let layout =
                Layout::default().next(&[service(&four, 80, STEERED)], &[view(&four, &states)]);
            layout.expect("fits").services[0].capacity
        };
        assert_eq!(room([BackendState::Up; 4]), 4);
        assert_eq!(room([BackendState::Down; 4]), 4);
    }

    #[test]
    fn a_service_of_the_agent_has_no_ring_and_no_backends() {
        let one = pool(&[6]);
        let layout = Layout::default()
            .next(
                &[service(&one, 443, Mode::Http)],
                &[view(&one, &[BackendState::Up])],
            )
            .expect("fits");
        assert!(layout.services[0].value.is_served_by_agent() && layout.services[0].ring.is_none());
        assert!(layout.services[0].backends.is_empty());
    }

    #[test]
    fn a_steered_service_needs_an_address_of_its_own() {
        let one = pool(&[6]);
        let mut everywhere = service(&one, 80, STEERED);
        everywhere.listen = SocketAddr::from(([0, 0, 0, 0], 80));
        let refused = Layout::default().next(&[everywhere], &[view(&one, &[BackendState::Up])]);
        assert!(
            refused
                .expect_err("no address")
                .to_string()
                .contains("0.0.0.0:80")
        );
    }
}
