//! The tables of the packet logic in plain memory, in place of BPF maps.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use super::Slice;
use crate::{
    backend::{Backend, BackendId},
    connection::{Connection, WORDS},
    endpoint::{Endpoint, EndpointBucket, EndpointKind, EndpointTable},
    hop::NextHop,
    limits::{HOPS, PORTS_PER_LINE, WAYS},
    listener::{self, LISTENER_WORDS, Listeners},
    port::PortWord,
    record::Record,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    steer::steer,
    tables::{Ports, Shared, Tables, Words},
    tick::Tick,
    traffic::{Direction, Traffic, TrafficSlot},
    verdict::{COUNTER_SLOTS, DropReason, Verdict},
    walk::Turn,
};

/// The tables of one host, in plain memory.
#[derive(Debug)]
pub struct HostTables {
    /// Stands for the map `settings`.
    pub settings: Settings,
    /// The current time in ticks of the simulated kernel clock.
    pub now: Tick,
    /// Index of the interface that the packets arrive on.
    pub ingress: u32,
    /// Indices of other interfaces that packets can be redirected to.
    pub interfaces: Vec<u32>,
    /// Stands for the map `services`.
    pub services: HashMap<ServiceKey, Service>,
    /// Stands for the map `rings`: the backend in each slot of a service's ring.
    pub rings: HashMap<ServiceId, Vec<BackendId>>,
    /// Stands for the map `backends`.
    pub backends: BTreeMap<BackendId, Backend>,
    /// The kernel's routes: the next hop for each destination address.
    pub routes: HashMap<[u8; 4], NextHop>,
    /// The next hop for every destination that `routes` does not contain.
    pub default_route: Option<NextHop>,
    listeners: Vec<Listeners>,
    endpoints: EndpointTable,
    connections: Vec<[AtomicU64; WORDS]>,
    rows: HashMap<u16, Vec<AtomicU32>>,
    hops: Vec<[AtomicU64; 4]>,
    turns: RefCell<HashMap<ServiceId, u32>>,
    walks: RefCell<HashMap<u16, Turn>>,
    exported: RefCell<Vec<Record>>,
    lookups: RefCell<u64>,
    verdicts: RefCell<Vec<u64>>,
    traffic: RefCell<HashMap<u32, Traffic>>,
}

impl HostTables {
    /// Creates tables without services, backends, routes and connections; `settings.last_bucket`
    /// determines the size of the connection table.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let entries = settings.last_bucket + WAYS;
        Self {
            settings,
            now: Tick(1),
            ingress: 1,
            interfaces: Vec::new(),
            services: HashMap::new(),
            rings: HashMap::new(),
            backends: BTreeMap::new(),
            routes: HashMap::new(),
            default_route: None,
            listeners: vec![Listeners::default(); LISTENER_WORDS as usize],
            endpoints: EndpointTable::default(),
            connections: (0..entries).map(|_| Default::default()).collect(),
            rows: HashMap::new(),
            hops: (0..HOPS).map(|_| Default::default()).collect(),
            turns: RefCell::default(),
            walks: RefCell::default(),
            exported: RefCell::default(),
            lookups: RefCell::default(),
            verdicts: RefCell::new(vec![0; COUNTER_SLOTS as usize]),
            traffic: RefCell::default(),
        }
    }

    /// Rebuilds the tables that are derived from services and backends: the filter of listeners,
    /// endpoints, rows of source ports. Call this when the services or the backends have changed;
    /// connections remain.
    ///
    /// # Panics
    /// When there are more endpoints than the map holds.
    pub fn rebuild(&mut self) {
        self.listeners.fill(Listeners::default());
        for (key, service) in &self.services {
            let (word, bit) = listener::place(key.address, key.port);
            self.listeners[word as usize].add(bit, !service.is_served_by_agent());
        }
        self.endpoints = EndpointTable::default();
        self.settings.dnat = 0;
        let backends = self.backends.clone();
        for (id, backend) in backends {
            if backend.dnat != 0 {
                self.settings.dnat = 1;
                self.add_endpoint(&backend, [0; 4], id.0, EndpointKind::Dnat);
            }
            for which in 0..backend.rows {
                let source = if which == 0 {
                    backend.service_address
                } else {
                    self.settings.source_addresses[usize::from(which) - 1]
                };
                let row = backend.row + which;
                self.add_endpoint(&backend, source, row, EndpointKind::Nat);
                self.add_row(row);
            }
        }
    }

    fn add_endpoint(&mut self, backend: &Backend, source: [u8; 4], row: u16, kind: EndpointKind) {
        self.endpoints
            .add(Endpoint {
                backend: backend.address,
                source,
                port: backend.port,
                row,
                kind: kind as u16,
                reserved: 0,
            })
            .expect("room for an endpoint");
    }

    fn add_row(&mut self, row: u16) {
        let settings = self.settings;
        let lines = u32::from(settings.first_line)
            ..u32::from(settings.first_line) + u32::from(settings.lines);
        self.rows.entry(row).or_insert_with(|| {
            (0..65_536)
                .map(|port| {
                    let ours = lines.contains(&(port / PORTS_PER_LINE));
                    AtomicU32::new(if ours {
                        PortWord::FREE.0
                    } else {
                        PortWord::RESERVED.0
                    })
                })
                .collect()
        });
    }

    /// Marks these source ports as reserved for the host's own connections, in every row of the map
    /// `source_ports`.
    pub fn reserve(&mut self, ports: std::ops::RangeInclusive<u16>) {
        for row in self.rows.values() {
            for port in ports.clone() {
                row[usize::from(port)].store(PortWord::RESERVED.0, Ordering::SeqCst);
            }
        }
    }

    /// Steers one packet, and returns its verdict.
    pub fn steer(&self, packet: &mut [u8]) -> Verdict {
        steer(&mut Slice(packet), &self)
    }

    /// Returns the number of packets counted so far with this verdict.
    #[must_use]
    pub fn counted(&self, verdict: Verdict) -> u64 {
        self.counted_at(verdict.counter())
    }

    /// Returns the number of packets counted so far at this index of the map `verdicts`.
    #[must_use]
    pub fn counted_at(&self, index: u32) -> u64 {
        self.verdicts.borrow()[index as usize]
    }

    /// Returns the number of packets counted so far, whatever their verdict.
    #[must_use]
    pub fn counted_total(&self) -> u64 {
        self.verdicts.borrow().iter().sum()
    }

    /// Returns the traffic counters of a service or backend.
    #[must_use]
    pub fn traffic(&self, slot: TrafficSlot) -> Traffic {
        self.traffic
            .borrow()
            .get(&slot.index())
            .copied()
            .unwrap_or_default()
    }

    /// Returns the records of connections that were exported to the agent since the last call, and
    /// forgets them.
    #[must_use]
    pub fn take_exported(&self) -> Vec<Record> {
        self.exported.take()
    }

    /// Returns the number of route lookups made so far.
    #[must_use]
    pub fn route_lookups(&self) -> u64 {
        *self.lookups.borrow()
    }

    /// Returns all connections with the indices of their entries, closed connections included.
    #[must_use]
    pub fn connections(&self) -> Vec<(u32, Connection)> {
        let read = |entry: &[AtomicU64; WORDS]| {
            Connection::of_words(std::array::from_fn(|word| {
                entry[word].load(Ordering::SeqCst)
            }))
        };
        (0..)
            .zip(&self.connections)
            .map(|(index, entry)| (index, read(entry)))
            .filter(|(_index, connection)| connection.state().is_live())
            .collect()
    }

    /// Returns all claimed source ports: row of the map `source_ports`, port, and index of the
    /// entry that holds the port.
    #[must_use]
    pub fn claimed_ports(&self) -> Vec<(u16, u16, u32)> {
        let mut claimed = Vec::new();
        for (row, ports) in &self.rows {
            for (port, word) in (0..=u16::MAX).zip(ports) {
                if let Some(index) = PortWord(word.load(Ordering::SeqCst)).holder() {
                    claimed.push((*row, port, index));
                }
            }
        }
        claimed
    }
}

impl<const N: usize> Words for &[AtomicU64; N] {
    fn load(&self, word: usize) -> u64 {
        self[word].load(Ordering::Acquire)
    }

    fn store(&self, word: usize, value: u64) {
        self[word].store(value, Ordering::Release);
    }

    fn exchange(&self, word: usize, old: u64, new: u64) -> bool {
        self[word]
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

/// A line of the map `source_ports`, which is the words of sixteen adjacent source ports to one
/// backend from one source address.
#[derive(Clone, Copy, Debug)]
pub struct HostLine<'a>(&'a [AtomicU32]);

impl Ports for HostLine<'_> {
    fn load(&self, port: u32) -> u32 {
        self.0[(port % PORTS_PER_LINE) as usize].load(Ordering::Acquire)
    }

    fn exchange(&self, port: u32, old: u32, new: u32) -> bool {
        self.0[(port % PORTS_PER_LINE) as usize]
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl<'a> Shared for &'a HostTables {
    type Entry = &'a [AtomicU64; WORDS];
    type Line = HostLine<'a>;

    fn entry(&self, index: u32) -> Option<Self::Entry> {
        self.connections.get(index as usize)
    }

    fn line(&self, row: u16, line: u32) -> Option<Self::Line> {
        let first = (line * PORTS_PER_LINE) as usize;
        let ports = self.rows.get(&row)?;
        ports
            .get(first..first + PORTS_PER_LINE as usize)
            .map(HostLine)
    }

    fn order_loads(&self) {
        fence(Ordering::SeqCst);
    }
}

impl<'a> Tables for &'a HostTables {
    type Hop = &'a [AtomicU64; 4];

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn now(&self) -> Tick {
        self.now
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn can_send(&self, interface: u32) -> bool {
        self.interfaces.contains(&interface)
    }

    fn listeners(&self, word: u32) -> Listeners {
        self.listeners[word as usize]
    }

    fn is_source_port(&self, port: u16) -> bool {
        let line = u32::from(port) / PORTS_PER_LINE;
        let first = u32::from(self.settings.first_line);
        (first..first + u32::from(self.settings.lines)).contains(&line)
    }

    fn endpoints(&self, bucket: u32) -> Option<&EndpointBucket> {
        self.endpoints.buckets().get(bucket as usize)
    }

    fn hop(&self, index: u32) -> Option<Self::Hop> {
        self.hops.get(index as usize)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn ring(&self, service: ServiceId, number: u32) -> Option<BackendId> {
        let slots = self.rings.get(&service)?;
        let slot = (number as usize).checked_rem(slots.len())?;
        slots.get(slot).copied()
    }

    fn turn(&self, service: ServiceId) -> u32 {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(service).or_default();
        let now = *turn;
        *turn = now.wrapping_add(1);
        now
    }

    fn line_turn(&self, row: u16) -> Turn {
        let mut walks = self.walks.borrow_mut();
        let walk = walks.entry(row).or_default();
        let turn = *walk;
        *walk = turn.next();
        turn
    }

    fn miss(&self, row: u16, second: bool) {
        let mut walks = self.walks.borrow_mut();
        let walk = walks.entry(row).or_default();
        *walk = if second {
            walk.after_second_miss()
        } else {
            walk.after_miss()
        };
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn backend(&self, id: BackendId) -> Option<Backend> {
        self.backends.get(&id).copied()
    }

    fn next_hop(&self, _source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, DropReason> {
        *self.lookups.borrow_mut() += 1;
        self.routes
            .get(&destination)
            .copied()
            .or(self.default_route)
            .ok_or(DropReason::NoRoute)
    }

    fn export_record(&self, record: &Record) {
        self.exported.borrow_mut().push(*record);
    }

    fn count_verdict(&self, verdict: Verdict) {
        self.verdicts.borrow_mut()[verdict.counter() as usize] += 1;
    }

    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool) {
        self.traffic
            .borrow_mut()
            .entry(slot.index())
            .or_default()
            .count(direction, bytes, opens);
    }
}
