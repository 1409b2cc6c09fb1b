//! The maps, with the contract's types in place of bytes.

use std::{fmt, ops::RangeInclusive, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    backend::{Backend, BackendId},
    flow::{FROM_PEER, Tick},
    limits,
    ring::Ring,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};
use zerocopy::transmute;

use super::{Error, layout::Layout};

/// The maps that the agent reads and writes. The flow table is the kernel's own.
pub(super) struct Maps {
    settings: Array<MapData, [u8; size_of::<Settings>()]>,
    ports: Array<MapData, u64>,
    services: HashMap<MapData, [u8; size_of::<ServiceKey>()], [u8; size_of::<Service>()]>,
    backends: Array<MapData, [u8; size_of::<Backend>()]>,
    rings: ArrayOfMaps<MapData, Array<MapData, BackendId>>,
    verdicts: PerCpuArray<MapData, u64>,
    traffic: PerCpuArray<MapData, [u8; size_of::<Traffic>()]>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub(super) fn take(loaded: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            settings: taken(loaded, "settings")?,
            ports: taken(loaded, "ports")?,
            services: taken(loaded, "services")?,
            backends: taken(loaded, "backends")?,
            rings: taken(loaded, "rings")?,
            verdicts: taken(loaded, "verdicts")?,
            traffic: taken(loaded, "traffic")?,
        })
    }

    /// What the map `services` holds.
    pub(super) fn services(&self) -> Result<Vec<(ServiceKey, Service)>, Error> {
        self.services
            .iter()
            .map(|entry| entry.map(|(key, value)| (transmute!(key), transmute!(value))))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::of("cannot read the map services", &error))
    }

    /// What the map `backends` holds, unused entries left out.
    pub(super) fn backends(&self) -> Result<Vec<(BackendId, Backend)>, Error> {
        let all: Vec<Backend> = self
            .backends
            .iter()
            .map(|value| value.map(|bytes| transmute!(bytes)))
            .collect::<Result<_, MapError>>()
            .map_err(|error| Error::of("cannot read the map backends", &error))?;
        Ok((0..)
            .zip(all)
            .filter(|(_id, backend)| backend.state != 0)
            .collect())
    }

    /// Tells the kernel which source ports NAT may take, and how fast its clock ticks.
    pub(super) fn set_source_ports(&mut self, ports: &RangeInclusive<u16>) -> Result<(), Error> {
        self.concern(ports)?;
        let mut settings = self.settings()?;
        settings.hertz = hertz()?;
        settings.first_source_port = *ports.start();
        settings.source_ports = ports.end() - ports.start() + 1;
        self.set_settings(settings)
    }

    /// Makes every flow look at its backend and its next hop again.
    pub(super) fn begin_generation(&mut self) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.generation = settings.generation.wrapping_add(1) & !FROM_PEER;
        self.set_settings(settings)
    }

    /// Has the kernel drop what would begin a connection, until `end`; or no longer.
    pub(super) fn hold(&mut self, end: Option<Tick>) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.hold = u8::from(end.is_some());
        settings.held_until = end.map_or(0, |end| end.0);
        self.set_settings(settings)
    }

    /// Has the kernel tell of connections whose state changes, or no longer.
    pub(super) fn tell(&mut self, wanted: bool) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.sync = u8::from(wanted);
        self.set_settings(settings)
    }

    /// Turns the maps from `old` to `new`. A packet sees each service as it was or as it is:
    /// backends stand in their map before a ring names them, rings before a service uses them, and
    /// what is no longer used is removed last.
    pub(super) fn write(&mut self, old: &Layout, new: &Layout) -> Result<(), Error> {
        for service in &new.services {
            let before = old.services.iter().find(|before| before.key == service.key);
            if before == Some(service) {
                continue;
            }
            for backend in &service.backends {
                let known = old.numbers.backends.values().any(|id| *id == backend.id);
                if !known {
                    self.set_traffic(TrafficSlot::of_backend(backend.id), Traffic::default())?;
                }
                self.set_backend(backend.id, backend.value)?;
            }
            if !old.numbers.services.contains_key(&service.key) {
                self.set_traffic(
                    TrafficSlot::of_service(service.value.id),
                    Traffic::default(),
                )?;
            }
            self.concern(&(service.key.port..=service.key.port))?;
            // No packet may count on a slot that is not filled: fewer are announced before the
            // ring is swapped, more after.
            let shrinks = service.value.slots < self.slots(service.key);
            if shrinks {
                self.set_service(service.key, service.value)?;
            }
            if let Some(ring) = service.ring.as_ref().filter(|ring| ring.used() > 0) {
                self.swap_ring(service.value.id, ring)?;
            }
            if !shrinks {
                self.set_service(service.key, service.value)?;
            }
        }
        for key in old.numbers.services.keys() {
            if !new.numbers.services.contains_key(key) {
                self.remove_service(*key)?;
            }
        }
        for (identity, id) in &old.numbers.backends {
            if new.numbers.backends.get(identity) != Some(id) {
                self.forget_backend(*id, identity.0, new)?;
            }
        }
        self.begin_generation()
    }

    /// Packets by the index of their verdict, summed over the CPUs.
    pub(super) fn verdicts(&self) -> Result<Vec<u64>, Error> {
        (0..COUNTER_SLOTS)
            .map(|index| self.counted(index))
            .collect()
    }

    /// Packets that ended in one verdict, by its index.
    pub(super) fn counted(&self, verdict: u32) -> Result<u64, Error> {
        let values = self
            .verdicts
            .get(&verdict, 0)
            .map_err(|error| Error::of("cannot read the map verdicts", &error))?;
        Ok(values.iter().sum())
    }

    /// Adds to the count of a slot that the kernel does not count in.
    fn add_traffic(&mut self, slot: TrafficSlot, more: Traffic) -> Result<(), Error> {
        let sum = self.traffic(slot)?.plus(&more);
        self.set_traffic(slot, sum)
    }

    /// What went through a slot, summed over the CPUs.
    pub(super) fn traffic(&self, slot: TrafficSlot) -> Result<Traffic, Error> {
        let values = self
            .traffic
            .get(&slot.index(), 0)
            .map_err(|error| Error::of("cannot read the map traffic", &error))?;
        Ok(values.iter().fold(Traffic::default(), |sum, bytes| {
            let one: Traffic = transmute!(*bytes);
            sum.plus(&one)
        }))
    }

    /// Has the kernel look closer at packets to these ports. No port is ever taken out again: flows
    /// may still need it, and one too many costs a look-up, not a packet.
    fn concern(&mut self, ports: &RangeInclusive<u16>) -> Result<(), Error> {
        let failed = |error: MapError| Error::of("cannot mark ports in the map ports", &error);
        for index in ports.start() / 64..=ports.end() / 64 {
            let marked = (0..64)
                .filter(|bit| ports.contains(&(index * 64 + bit)))
                .fold(0, |word, bit| word | 1_u64 << bit);
            let index = u32::from(index);
            let before = self.ports.get(&index, 0).map_err(failed)?;
            self.ports.set(index, before | marked, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn settings(&self) -> Result<Settings, Error> {
        self.settings
            .get(&0, 0)
            .map(|bytes| transmute!(bytes))
            .map_err(|error| Error::of("cannot read the map settings", &error))
    }

    fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        let bytes: [u8; size_of::<Settings>()] = transmute!(settings);
        self.settings
            .set(0, bytes, 0)
            .map_err(|error| Error::of("cannot write the map settings", &error))
    }

    /// Slots that the kernel uses of a service's ring now.
    fn slots(&self, key: ServiceKey) -> u32 {
        let key: [u8; size_of::<ServiceKey>()] = transmute!(key);
        self.services.get(&key, 0).map_or(0, |bytes| {
            let service: Service = transmute!(bytes);
            service.slots
        })
    }

    fn set_service(&mut self, key: ServiceKey, value: Service) -> Result<(), Error> {
        let key: [u8; size_of::<ServiceKey>()] = transmute!(key);
        let value: [u8; size_of::<Service>()] = transmute!(value);
        self.services
            .insert(key, value, 0)
            .map_err(|error| Error::of("cannot write the map services", &error))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        let key: [u8; size_of::<ServiceKey>()] = transmute!(key);
        match self.services.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(Error::of("cannot remove a service from its map", &error)),
        }
    }

    fn set_backend(&mut self, id: BackendId, value: Backend) -> Result<(), Error> {
        let value: [u8; size_of::<Backend>()] = transmute!(value);
        self.backends
            .set(id, value, 0)
            .map_err(|error| Error::of("cannot write the map backends", &error))
    }

    /// Frees a number, unless another backend has it by now. What went through the backend stays
    /// counted for its service: a counter never goes back.
    fn forget_backend(
        &mut self,
        id: BackendId,
        service: ServiceId,
        new: &Layout,
    ) -> Result<(), Error> {
        if new.numbers.backends.values().any(|used| *used == id) {
            return Ok(());
        }
        if new.numbers.services.values().any(|used| *used == service) {
            self.add_traffic(
                TrafficSlot::of_service(service),
                self.traffic(TrafficSlot::of_backend(id))?,
            )?;
        }
        let unused = Backend {
            address: [0; 4],
            port: 0,
            service: 0,
            state: 0,
            reserved: [0; 3],
        };
        self.set_backend(id, unused)
    }

    /// Fills a ring beside the one in use, then puts it in its place at once.
    fn swap_ring(&mut self, service: ServiceId, ring: &Ring) -> Result<(), Error> {
        let failed = |error: MapError| Error::of("cannot swap a ring", &error);
        let mut inner =
            Array::<MapData, BackendId>::create(limits::RING_SLOTS, 0).map_err(failed)?;
        for (slot, backend) in (0..).zip(&ring.slots) {
            inner.set(slot, backend, 0).map_err(failed)?;
        }
        self.rings
            .set(u32::from(service), &inner, 0)
            .map_err(failed)
    }

    /// Makes `traffic` the count of a slot.
    fn set_traffic(&mut self, slot: TrafficSlot, traffic: Traffic) -> Result<(), Error> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Error::of("cannot set a counter in the map traffic", error)
        };
        let cpus = nr_cpus().map_err(|(_path, error)| failed(&error))?;
        let mut values = vec![[0; size_of::<Traffic>()]; cpus];
        if let Some(first) = values.first_mut() {
            *first = transmute!(traffic);
        }
        let values = PerCpuValues::try_from(values).map_err(|error| failed(&error))?;
        self.traffic
            .set(slot.index(), values, 0)
            .map_err(|error| failed(&error))
    }
}

/// Ticks of the kernel's clock in a second: its coarse clocks advance by one tick at a time.
pub(super) fn hertz() -> Result<u32, Error> {
    let tick = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(|error| Error::of("cannot ask the kernel how fast its clock ticks", &error))?;
    let nanoseconds = Duration::from(tick).as_nanos().max(1);
    // 1,000,000,000 / 3,333,333 is 300 and a little: the tick is what was rounded.
    Ok(u32::try_from((1_000_000_000 + nanoseconds / 2) / nanoseconds).unwrap_or(1000))
}

fn taken<M: TryFrom<aya::maps::Map, Error = MapError>>(
    loaded: &mut Ebpf,
    name: &str,
) -> Result<M, Error> {
    let map = loaded
        .take_map(name)
        .ok_or_else(|| Error::new(format!("the built object has no map \"{name}\"")))?;
    M::try_from(map)
        .map_err(|error| Error::of(&format!("the map {name} is of another kind"), &error))
}
