//! The BPF maps, accessed with the types of `lb_common`.

use std::fmt;

use aya::{
    Ebpf,
    maps::{
        Array, HashMap, MapData, MapError, PerCpuArray,
        xdp::{DevMapHash, XdpMapError},
    },
};
use lb_common::{
    backend::{Backend, BackendId},
    hop::Hop,
    listener::Listeners,
    service::{Service, ServiceKey},
    settings::Settings,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};
use zerocopy::transmute;

use super::{Error, rings::Rings};

mod settings;
mod write;

pub(super) use settings::hertz;

/// The BPF maps that the agent reads and writes by system calls.
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
    /// Takes the maps out of the loaded eBPF object.
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

    /// Reads all entries of the map `services`.
    pub(super) fn services(&self) -> Result<Vec<(ServiceKey, Service)>, Error> {
        self.services
            .iter()
            .map(|entry| entry.map(|(key, value)| (transmute!(key), transmute!(value))))
            .collect::<Result<_, _>>()
            .map_err(Error::read_map("services"))
    }

    /// Reads those entries of the map `backends` that a backend uses.
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

    /// Makes the interfaces with these indices the only ones to which the XDP program can redirect
    /// packets.
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
                // A missing key is not an error: the kernel deletes the entry of an interface that
                // no longer exists.
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(Error::write_map("interfaces")(error)),
            }
        }
        Ok(())
    }

    /// Returns the number of packets for each verdict index, summed over all CPUs.
    pub(super) fn verdicts(&self) -> Result<Vec<u64>, Error> {
        (0..COUNTER_SLOTS)
            .map(|index| self.counted(index))
            .collect()
    }

    /// Returns the number of packets with the verdict that has this index, summed over all CPUs.
    pub(super) fn counted(&self, verdict: u32) -> Result<u64, Error> {
        let values = self
            .verdicts
            .get(&verdict, 0)
            .map_err(Error::read_map("verdicts"))?;
        Ok(values.iter().sum())
    }

    /// Returns the traffic counter of a service or backend, summed over all CPUs.
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
