//! The maps, with the contract's types in place of bytes.

use std::{fmt, iter, net::Ipv4Addr, time::Duration};

use aya::{
    Ebpf,
    maps::{
        Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues,
        xdp::{DevMapHash, XdpMapError},
    },
    util::nr_cpus,
};
use lb_common::{
    backend::{Backend, BackendId},
    hop::Hop,
    limits,
    listener::{self, LISTENER_WORDS, Listeners},
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tick::Tick,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};
use zerocopy::transmute;

use super::{
    Error,
    layout::{Changed, Layout, Placed},
    ports::PortSet,
    rings::Rings,
    sources::Sources,
};

/// The maps that the agent reads and writes. The flow table is the kernel's own.
pub(super) struct Maps {
    settings: Array<MapData, [u8; size_of::<Settings>()]>,
    listeners: Array<MapData, [u8; size_of::<Listeners>()]>,
    ports: Array<MapData, u64>,
    hops: Array<MapData, [u8; size_of::<Hop>()]>,
    interfaces: DevMapHash<MapData>,
    services: HashMap<MapData, [u8; size_of::<ServiceKey>()], [u8; size_of::<Service>()]>,
    backends: Array<MapData, [u8; size_of::<Backend>()]>,
    rings: Rings,
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
            listeners: taken(loaded, "listeners")?,
            ports: taken(loaded, "ports")?,
            hops: taken(loaded, "hops")?,
            interfaces: taken(loaded, "interfaces")?,
            services: taken(loaded, "services")?,
            backends: taken(loaded, "backends")?,
            rings: Rings::take(loaded)?,
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
            .map_err(Error::read_map("services"))
    }

    /// What the map `backends` holds, unused entries left out.
    pub(super) fn backends(&self) -> Result<Vec<(BackendId, Backend)>, Error> {
        let all: Vec<Backend> = self
            .backends
            .iter()
            .map(|value| value.map(|bytes| transmute!(bytes)))
            .collect::<Result<_, MapError>>()
            .map_err(Error::read_map("backends"))?;
        Ok((0..)
            .map(BackendId)
            .zip(all)
            .filter(|(_id, backend)| backend.state != 0)
            .collect())
    }

    /// Tells the kernel what holds for all of its connections: how large the table is, which source
    /// ports and addresses NAT may take, and how fast its clock ticks. The secret is made once, with
    /// the table.
    ///
    /// # Errors
    /// The kernel's refusal, or other source addresses than those that the maps were made with: a
    /// backend's rows of source ports follow from their number and order.
    pub(super) fn set_up(
        &mut self,
        entries: u32,
        ports: &PortSet,
        source_addresses: &[Ipv4Addr],
    ) -> Result<(), Error> {
        let mut settings = self.settings()?;
        let before = settings.source_addresses;
        for (place, address) in settings.source_addresses.iter_mut().zip(
            source_addresses
                .iter()
                .map(Ipv4Addr::octets)
                .chain(iter::repeat([0; 4])),
        ) {
            *place = address;
        }
        let is_new = settings.secret == [0; 2];
        if !is_new && settings.source_addresses != before {
            return Err(other_addresses(&before));
        }
        for (index, word) in (0..).zip(ports.words()) {
            self.ports
                .set(index, word, 0)
                .map_err(Error::write_map("ports"))?;
        }
        if is_new {
            settings.secret = secret()?;
            (settings.generation, settings.routes) = (1, 1);
        }
        settings.last_bucket = entries - limits::WAYS;
        settings.hertz = hertz()?;
        settings.layout = limits::LAYOUT;
        let lines = ports.lines();
        settings.first_line = lines.first;
        settings.lines = lines.usable;
        settings.lines_before_gap = lines.before_gap;
        settings.gap = lines.gap;
        self.set_settings(settings)
    }

    /// Has packets redirected to these interfaces, by their numbers, and to no others.
    pub(super) fn set_interfaces(&mut self, interfaces: &[u32]) -> Result<(), Error> {
        for &index in interfaces {
            self.interfaces
                .insert(index, index, None, 0)
                .map_err(Error::write_map::<XdpMapError>("interfaces"))?;
        }
        let present: Vec<u32> = self
            .interfaces
            .keys()
            .collect::<Result<_, MapError>>()
            .map_err(Error::read_map("interfaces"))?;
        for index in present.iter().filter(|index| !interfaces.contains(index)) {
            match self.interfaces.remove(*index) {
                // The kernel itself takes out an interface that goes.
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(Error::write_map("interfaces")(error)),
            }
        }
        Ok(())
    }

    /// Makes every next hop be looked up again: a neighbour changed.
    pub(super) fn begin_generation(&mut self) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.generation = settings.generation.wrapping_add(1);
        self.set_settings(settings)
    }

    /// Makes every connection look for its client's next hop again: a route changed.
    pub(super) fn begin_routes(&mut self) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.generation = settings.generation.wrapping_add(1);
        settings.routes = settings.routes.wrapping_add(1);
        // A connection holds the low bits, and 0 there says that no route was looked up.
        if settings.routes.trailing_zeros() >= 16 {
            settings.routes += 1;
        }
        self.set_settings(settings)
    }

    /// What the kernel knows of everything at once.
    pub(super) fn current_settings(&self) -> Result<Settings, Error> {
        self.settings()
    }

    /// Has the kernel drop what would begin a connection, until `end`; or no longer.
    pub(super) fn hold(&mut self, end: Option<Tick>) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.hold = u8::from(end.is_some());
        settings.held_until = end.map_or(0, |end| end.0);
        self.set_settings(settings)
    }

    /// Has the kernel tell of connections whose state changes, or no longer.
    pub(super) fn set_export(&mut self, wanted: bool) -> Result<(), Error> {
        let mut settings = self.settings()?;
        settings.export = u8::from(wanted);
        self.set_settings(settings)
    }

    /// Turns the maps from `old` to `new`. A packet sees each service as it was or as it is:
    /// backends stand in their map before a ring names them, rings before a service uses them, and
    /// what is no longer used is removed last, when no packet is under way that saw it.
    pub(super) fn write(
        &mut self,
        old: &Layout,
        new: &Layout,
        sources: &mut Sources,
    ) -> Result<(), Error> {
        self.set_listeners(new)?;
        let before: std::collections::HashMap<ServiceKey, &Placed> = old
            .services
            .iter()
            .map(|service| (service.key, service))
            .collect();
        let changed: Vec<&Placed> = new
            .services
            .iter()
            .filter(|service| before.get(&service.key) != Some(service))
            .collect();
        // A service that goes while another one gets its number goes first.
        for (key, id) in old.numbers.services.iter() {
            if new.numbers.services.get(key).is_none() && new.numbers.services.is_allocated(id) {
                self.remove_service(*key)?;
            }
        }
        let backends = changed.iter().flat_map(|service| &service.backends);
        let rows = backends
            .filter(|backend| backend.value.dnat == 0)
            .flat_map(|backend| (backend.value.row..).take(usize::from(backend.value.rows)));
        sources.provide_rows(rows)?;
        for service in &changed {
            self.prepare(old, service, &new.source_addresses, sources)?;
        }
        let rings: Vec<_> = changed.iter().filter_map(|one| one.filled()).collect();
        self.rings.write(&rings)?;
        for service in &changed {
            self.set_service(service.key, service.value)?;
        }
        self.remove_unused(old, new)
    }

    /// Writes services whose backends changed state, and nothing else.
    pub(super) fn change(&mut self, layout: &Layout, changed: &[Changed]) -> Result<(), Error> {
        if changed.is_empty() {
            return Ok(());
        }
        for one in changed {
            let before = &layout.before(one).backends;
            for (before, now) in before.iter().zip(&one.service.backends) {
                if before.value != now.value {
                    self.set_backend(now.id, now.value)?;
                }
            }
        }
        let rings: Vec<_> = changed
            .iter()
            .filter_map(|one| one.service.filled())
            .collect();
        self.rings.write(&rings)
    }

    /// Writes what has to stand in the maps before the service's ring does.
    fn prepare(
        &mut self,
        old: &Layout,
        service: &Placed,
        further: &[[u8; 4]],
        sources: &mut Sources,
    ) -> Result<(), Error> {
        for backend in &service.backends {
            if old.numbers.backends.get(&backend.identity()) != Some(backend.id) {
                self.set_traffic(TrafficSlot::of_backend(backend.id), Traffic::default())?;
                self.clear_hop(backend.id)?;
            }
            let address = (backend.value.address, backend.value.port);
            if backend.value.dnat == 0 {
                let seen = iter::once(&backend.value.service_address).chain(further);
                let rows = (backend.value.row..).take(usize::from(backend.value.rows));
                for (source, row) in seen.zip(rows) {
                    sources.add_nat(address, *source, row)?;
                }
            } else {
                sources.add_dnat(address, backend.id)?;
            }
            self.set_backend(backend.id, backend.value)?;
        }
        if old.numbers.services.get(&service.key).is_none() {
            let slot = TrafficSlot::of_service(service.value.id);
            self.set_traffic(slot, Traffic::default())?;
        }
        Ok(())
    }

    /// Removes the services and backends of `old` that `new` does not have.
    fn remove_unused(&mut self, old: &Layout, new: &Layout) -> Result<(), Error> {
        let mut rings = Vec::new();
        for (key, id) in old.numbers.services.iter() {
            if new.numbers.services.get(key).is_none() {
                self.remove_service(*key)?;
                if !new.numbers.services.is_allocated(id) {
                    rings.push(id);
                }
            }
        }
        self.rings.remove(&rings)?;
        let gone: Vec<_> = old
            .numbers
            .backends
            .iter()
            .filter(|&(identity, id)| new.numbers.backends.get(identity) != Some(id))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.rings.wait()?;
        for (identity, id) in gone {
            self.forget_backend(id, identity.0, new)?;
        }
        Ok(())
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
            .map_err(Error::read_map("verdicts"))?;
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
            .map_err(Error::read_map("traffic"))?;
        Ok(values.iter().fold(Traffic::default(), |sum, bytes| {
            let one: Traffic = transmute!(*bytes);
            sum.plus(&one)
        }))
    }

    /// Has the kernel look closer at packets to the addresses and ports of these services.
    fn set_listeners(&mut self, layout: &Layout) -> Result<(), Error> {
        let failed = Error::write_map::<MapError>("listeners");
        let mut words = vec![Listeners::default(); LISTENER_WORDS as usize];
        for service in &layout.services {
            let (word, bit) = listener::place(service.key.address, service.key.port);
            words[word as usize].add(bit, !service.value.is_served_by_agent());
        }
        for (index, word) in (0..).zip(words) {
            let bytes: [u8; size_of::<Listeners>()] = transmute!(word);
            if self.listeners.get(&index, 0).map_err(failed)? != bytes {
                self.listeners.set(index, bytes, 0).map_err(failed)?;
            }
        }
        let dnat = layout
            .services
            .iter()
            .flat_map(|service| &service.backends)
            .any(|backend| backend.value.dnat != 0);
        let mut settings = self.settings()?;
        settings.dnat |= u8::from(dnat);
        self.set_settings(settings)
    }

    /// Forgets the next hop of the backend that had this number before.
    fn clear_hop(&mut self, id: BackendId) -> Result<(), Error> {
        self.hops
            .set(id.index(), [0; size_of::<Hop>()], 0)
            .map_err(Error::write_map("hops"))
    }

    fn settings(&self) -> Result<Settings, Error> {
        self.settings
            .get(&0, 0)
            .map(|bytes| transmute!(bytes))
            .map_err(Error::read_map("settings"))
    }

    fn set_settings(&mut self, settings: Settings) -> Result<(), Error> {
        let bytes: [u8; size_of::<Settings>()] = transmute!(settings);
        self.settings
            .set(0, bytes, 0)
            .map_err(Error::write_map("settings"))
    }

    /// Puts a service into the map, unless it stands there already. The kernel replaces the element
    /// of a hash table and may give the old one to another key at once (kernel/bpf/hashtab.c,
    /// `htab_map_update_elem`), while a packet reads it: so only what differs is written, which a
    /// change of states never is.
    fn set_service(&mut self, key: ServiceKey, value: Service) -> Result<(), Error> {
        let key: [u8; size_of::<ServiceKey>()] = transmute!(key);
        let value: [u8; size_of::<Service>()] = transmute!(value);
        if self.services.get(&key, 0).is_ok_and(|found| found == value) {
            return Ok(());
        }
        self.services
            .insert(key, value, 0)
            .map_err(Error::write_map("services"))
    }

    fn remove_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        let key: [u8; size_of::<ServiceKey>()] = transmute!(key);
        match self.services.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            // It has gone already.
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(error) => Err(Error::write_map("services")(error)),
        }
    }

    fn set_backend(&mut self, id: BackendId, value: Backend) -> Result<(), Error> {
        let value: [u8; size_of::<Backend>()] = transmute!(value);
        self.backends
            .set(id.index(), value, 0)
            .map_err(Error::write_map("backends"))
    }

    /// Frees a number, unless another backend has it by now. What went through the backend stays
    /// counted for its service: a counter never goes back.
    fn forget_backend(
        &mut self,
        id: BackendId,
        service: ServiceId,
        new: &Layout,
    ) -> Result<(), Error> {
        if new.numbers.backends.is_allocated(id) {
            return Ok(());
        }
        if new.numbers.services.is_allocated(service) {
            self.add_traffic(
                TrafficSlot::of_service(service),
                self.traffic(TrafficSlot::of_backend(id))?,
            )?;
        }
        let unused = Backend {
            address: [0; 4],
            port: 0,
            service: ServiceId(0),
            state: 0,
            dnat: 0,
            row: 0,
            rows: 0,
            service_port: 0,
            service_address: [0; 4],
            reserved: [0; 8],
        };
        self.set_backend(id, unused)
    }

    /// Makes `traffic` the count of a slot.
    fn set_traffic(&mut self, slot: TrafficSlot, traffic: Traffic) -> Result<(), Error> {
        let cpus = nr_cpus().map_err(|(_path, error)| Error::write_map("traffic")(error))?;
        let mut values = vec![[0; size_of::<Traffic>()]; cpus];
        if let Some(first) = values.first_mut() {
            *first = transmute!(traffic);
        }
        let values = PerCpuValues::try_from(values).map_err(Error::write_map("traffic"))?;
        self.traffic
            .set(slot.index(), values, 0)
            .map_err(Error::write_map("traffic"))
    }
}

/// Ticks of the kernel's clock in a second: its coarse clocks advance by one tick at a time.
pub(super) fn hertz() -> Result<u32, Error> {
    let tick = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).map_err(
        Error::kernel("cannot read the resolution of the kernel\'s clock"),
    )?;
    let nanoseconds = Duration::from(tick).as_nanos().max(1);
    // 1,000,000,000 / 3,333,333 is 300 and a little: the tick is what was rounded.
    Ok(u32::try_from((1_000_000_000 + nanoseconds / 2) / nanoseconds).unwrap_or(1000))
}

fn other_addresses(before: &[[u8; 4]]) -> Error {
    let before: Vec<String> = before
        .iter()
        .filter(|address| **address != [0; 4])
        .map(|address| format!("\"{}\"", Ipv4Addr::from(*address)))
        .collect();
    Error::SourceAddressesChanged {
        before: before.join(", "),
    }
}

/// Random numbers that nobody outside of this host knows.
fn secret() -> Result<[u64; 2], Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| Error::NoRandomNumbers)?;
    Ok(transmute!(bytes))
}

fn taken<M: TryFrom<aya::maps::Map, Error = MapError>>(
    loaded: &mut Ebpf,
    name: &str,
) -> Result<M, Error> {
    let map = loaded
        .take_map(name)
        .ok_or_else(|| Error::missing_map(name))?;
    M::try_from(map).map_err(Error::map_type(name))
}
