//! Changes the contents of the BPF maps from one [`Layout`] (the contents that they must have for a
//! configuration) to the next.

use std::{collections::HashMap, io, iter};

use aya::{
    maps::{MapError, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    backend::{Backend, BackendId},
    hop::Hop,
    listener::{self, LISTENER_WORDS, Listeners},
    service::{Service, ServiceId, ServiceKey},
    traffic::{Traffic, TrafficSlot},
};
use zerocopy::transmute;

use super::Maps;
use crate::dataplane::{
    Error,
    layout::{Changed, Layout, Placed},
    sources::Sources,
};

impl Maps {
    /// Changes the maps from `old` to `new`. A packet sees each service in its old or its new
    /// state: backends are written before a ring (the array by which new connections find a
    /// backend) refers to them, rings before a service uses them, and unused entries are removed
    /// last, when no packet in flight can refer to them.
    pub(in crate::dataplane) fn write(
        &mut self,
        old: &Layout,
        new: &Layout,
        sources: &mut Sources,
    ) -> Result<(), Error> {
        self.set_listeners(new)?;
        let before: HashMap<ServiceKey, &Placed> = old
            .services
            .iter()
            .map(|service| (service.key, service))
            .collect();
        let changed: Vec<&Placed> = new
            .services
            .iter()
            .filter(|service| before.get(&service.key) != Some(service))
            .collect();
        // First, services are removed whose number another service gets.
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

    /// Writes only the services whose backends changed their states.
    pub(in crate::dataplane) fn change(
        &mut self,
        layout: &Layout,
        changed: &[Changed],
    ) -> Result<(), Error> {
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

    /// Writes the map entries of a service's backends, which must exist before the service's ring
    /// (the array by which new connections find a backend) refers to them.
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

    /// Removes from the maps the services and backends that `old` has and `new` does not.
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

    /// Adds `more` to a traffic counter that the XDP program does not increment at present.
    fn add_traffic(&mut self, slot: TrafficSlot, more: Traffic) -> Result<(), Error> {
        let sum = self.traffic(slot)?.plus(&more);
        self.set_traffic(slot, sum)
    }

    /// Writes the map `listeners`, the filter by which packets for these services' addresses and
    /// ports are recognised.
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

    /// Clears the next hop that belonged to the previous backend with this number.
    fn clear_hop(&mut self, id: BackendId) -> Result<(), Error> {
        self.hops
            .set(id.index(), [0; size_of::<Hop>()], 0)
            .map_err(Error::write_map("hops"))
    }

    /// Writes a service unless the map already contains it. The kernel replaces the element of a
    /// hash table and may reuse the old one for another key immediately (kernel/bpf/hashtab.c,
    /// `htab_map_update_elem`), while the XDP program still reads the old element for a packet. So
    /// a service is written only if it differs from the map's, and a change of its backends' states
    /// does not make it differ.
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
            // This error means that the map has no such service, because it was removed already.
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
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

    /// Clears the entry of a removed backend, unless another backend has its number. The backend's
    /// traffic is added to the service's own counter, because the sum for the service must never
    /// decrease.
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

    /// Sets a traffic counter to this value.
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
