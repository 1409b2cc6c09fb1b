//! Writes the rings: arrays, one for each service, whose slots name backends. Each new flow of the
//! service goes to the backend in one of the slots. A change of a backend's state costs a
//! copy in memory and no system call.
//!
//! [`lb_common::ring`] describes the layout of a ring in memory. A part of it may be written again
//! once no running program can still read it, and an update of a map of maps waits for that: see
//! [`nested`]. One such wait covers all rings that were written before it.

use std::{collections::HashMap, fmt, os::fd::AsFd as _, sync::atomic::Ordering};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::{
    backend::BackendId,
    limits,
    ring::{self, BACKENDS_IN_A_WORD, Head, Slot},
    service::ServiceId,
};

use super::{Error, memory::Mapped, nested};

/// The index of an entry of the map `rings` that belongs to no service. It is set only in order to
/// wait until the XDP programs that are running have ended.
const NO_SERVICE: u32 = limits::SERVICES;

/// The contents of a service's ring (the array in whose slots new flows find their backends), to be
/// written to the ring's map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled<'a> {
    /// The number of the service.
    pub(super) service: ServiceId,
    /// The number of slots for which the service's ring (the array in whose slots new flows find
    /// their backends) has room. It depends only on the service's configuration, so it stays the
    /// same while backends go up and down.
    pub(super) capacity: u32,
    /// The backends in the slots of the ring, one for each slot that is used; at most `capacity`.
    pub(super) slots: &'a [BackendId],
}

/// The map of maps `rings`, and its inner maps: a ring for each service, mapped into memory, by
/// whose slots new flows find their backends.
pub(super) struct Rings {
    outer: MapData,
    /// An inner map without slots. It is the ring of services that have no backends.
    empty: MapData,
    placed: HashMap<ServiceId, Placed>,
    /// How many times this value has waited for the running XDP programs to end.
    waits: u64,
}

impl fmt::Debug for Rings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rings")
            .field("placed", &self.placed)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

/// The ring of one service (the array in whose slots new flows find their backends), mapped into
/// memory. It has two halves: packets use one while the other is written.
#[derive(Debug)]
struct Placed {
    words: Mapped,
    capacity: u32,
    /// Number of the half of the ring that packets use now, 0 or 1.
    half: u32,
    /// The value of [`Rings::waits`] when packets last used the other half of the ring; `None` if
    /// they never did.
    left: Option<u64>,
}

impl Rings {
    /// Takes the map `rings` out of the loaded object. The rings that an earlier agent wrote stay
    /// in use until this agent writes others in their place.
    pub(super) fn take(loaded: &mut Ebpf) -> Result<Self, Error> {
        let outer = match loaded.take_map("rings") {
            Some(Map::ArrayOfMaps(map)) => map,
            Some(_) => {
                return Err(Error::MapType {
                    map: "rings".to_owned(),
                    source: None,
                });
            }
            None => return Err(Error::missing_map("rings")),
        };
        Ok(Self {
            outer,
            empty: create(0)?,
            placed: HashMap::new(),
            waits: 0,
        })
    }

    /// Writes these rings of services (the arrays in whose slots new flows find their backends),
    /// each atomically. This waits for the running XDP programs to end: at most once if each
    /// service has a ring of the needed capacity already, and at most twice otherwise.
    pub(super) fn write(&mut self, rings: &[Filled<'_>]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for ring in rings {
            // One wait suffices for all rings of this call: after it, no running program can read a
            // half of a ring that packets left before.
            if self.may_be_read(ring) {
                self.wait()?;
            }
            match self.placed.get_mut(&ring.service) {
                Some(placed) if placed.capacity == ring.capacity => {
                    placed.turn_over(ring.slots, self.waits);
                }
                _ => missing.push(Placed::new(ring)?),
            }
        }
        self.add(missing)
    }

    /// Removes the rings (arrays in whose slots new flows find their backends) of services that
    /// were removed from the configuration.
    pub(super) fn remove(&mut self, services: &[ServiceId]) -> Result<(), Error> {
        let empty = services
            .iter()
            .map(|service| (service.index(), &self.empty));
        nested::put("rings", &self.outer, &empty.collect::<Vec<_>>())?;
        self.waits += u64::from(!services.is_empty());
        for service in services {
            self.placed.remove(service);
        }
        Ok(())
    }

    /// Waits until no program runs any more that may have read the maps before this call.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        nested::put("rings", &self.outer, &[(NO_SERVICE, &self.empty)])?;
        self.waits += 1;
        Ok(())
    }

    /// Returns whether a running XDP program may still read the half of the ring that would be
    /// written now. Each ring has two halves, of which new packets use one.
    fn may_be_read(&self, ring: &Filled<'_>) -> bool {
        self.placed.get(&ring.service).is_some_and(|placed| {
            placed.capacity == ring.capacity && placed.left == Some(self.waits)
        })
    }

    /// Inserts the rings of services into the map `rings`: new inner maps, which are filled
    /// already.
    fn add(&mut self, new: Vec<(ServiceId, MapData, Placed)>) -> Result<(), Error> {
        let maps = new.iter().map(|(service, map, _)| (service.index(), map));
        nested::put("rings", &self.outer, &maps.collect::<Vec<_>>())?;
        self.waits += u64::from(!new.is_empty());
        // The mappings keep the inner maps alive after their descriptors are closed.
        let placed = new
            .into_iter()
            .map(|(service, _, placed)| (service, placed));
        self.placed.extend(placed);
        Ok(())
    }
}

impl Placed {
    /// Creates an inner map of `rings` with the backends of this service, and maps it into memory.
    fn new(ring: &Filled<'_>) -> Result<(ServiceId, MapData, Self), Error> {
        let map = create(ring.capacity)?;
        let bytes = ring::words_of(ring.capacity) as usize * size_of::<u64>();
        let mut placed = Self {
            words: Mapped::open(map.fd().as_fd(), bytes)?,
            capacity: ring.capacity,
            half: 1,
            left: None,
        };
        placed.fill_idle_half(ring.slots);
        Ok((ring.service, map, placed))
    }

    /// Fills the half of the ring that packets do not use with the backends `slots`, and switches
    /// all later packets to it.
    fn turn_over(&mut self, slots: &[BackendId], waits: u64) {
        self.fill_idle_half(slots);
        self.left = Some(waits);
    }

    fn fill_idle_half(&mut self, slots: &[BackendId]) {
        let half = 1 - self.half;
        let words = self.words.words();
        let first = ring::first_of_half(self.capacity, half);
        let (slots, _) = slots.split_at(slots.len().min(self.capacity as usize));
        let begin = Slot::at(first).word() as usize;
        for (word, backends) in words[begin..].iter().zip(slots.chunks(BACKENDS_IN_A_WORD)) {
            word.store(ring::packed(backends), Ordering::Relaxed);
        }
        let slots = u32::try_from(slots.len()).unwrap_or(self.capacity);
        // A program that reads this head of the ring (its first word, which says where the slots
        // begin) sees the slots, too: they were stored before the head, and the program computes
        // the index of its slot from the head (an address dependency).
        words[0].store(Head { first, slots }.word(), Ordering::Release);
        self.half = half;
    }
}

/// Creates an inner map of `rings` that has room for this number of slots, of which none is used
/// yet.
fn create(capacity: u32) -> Result<MapData, Error> {
    let (key, value) = (size_of::<u32>() as u32, size_of::<u64>() as u32);
    let entries = ring::words_of(capacity);
    let kind = BPF_MAP_TYPE_ARRAY as u32;
    let map = aya_obj::Map::new_from_params(kind, key, value, entries, ring::MAP_FLAGS);
    MapData::create(map, "ring", None).map_err(Error::kernel("cannot create a map for a ring"))
}
