//! The tables as hash maps.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use crate::{
    backend::{Backend, BackendId},
    flow::{Flow, FlowKey, NextHop, Tick},
    record::Record,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tables::{Entry, Refused, Tables},
    tcp::State,
    traffic::{Direction, Traffic, TrafficSlot},
    verdict::{COUNTER_SLOTS, Drop, Verdict},
};

/// The tables as hash maps, for one host with one interface.
#[derive(Debug)]
pub struct HostTables {
    /// The map `settings`.
    pub settings: Settings,
    /// The clock.
    pub now: Tick,
    /// The interface that packets come in by.
    pub ingress: u32,
    /// The map `services`.
    pub services: HashMap<ServiceKey, Service>,
    /// The map `rings`.
    pub rings: HashMap<ServiceId, Vec<BackendId>>,
    /// The map `backends`.
    pub backends: HashMap<BackendId, Backend>,
    /// Next hops by the destination that they lead to.
    pub routes: HashMap<[u8; 4], NextHop>,
    /// The next hop for every other destination.
    pub default_route: Option<NextHop>,
    /// How many flows there is room for.
    pub room: usize,
    flows: RefCell<HashMap<FlowKey, Rc<Cell<Flow>>>>,
    recent: RefCell<HashMap<FlowKey, Flow>>,
    epoch: Cell<u32>,
    turns: RefCell<HashMap<ServiceId, u32>>,
    told: RefCell<Vec<Record>>,
    verdicts: RefCell<Vec<u64>>,
    traffic: RefCell<HashMap<u32, Traffic>>,
}

impl HostTables {
    /// Tables without services, backends, routes and flows.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Tick(1),
            ingress: 1,
            services: HashMap::new(),
            rings: HashMap::new(),
            backends: HashMap::new(),
            routes: HashMap::new(),
            default_route: None,
            room: usize::MAX,
            flows: RefCell::default(),
            recent: RefCell::default(),
            epoch: Cell::new(0),
            turns: RefCell::default(),
            told: RefCell::default(),
            verdicts: RefCell::new(vec![0; COUNTER_SLOTS as usize]),
            traffic: RefCell::default(),
        }
    }

    /// Packets that ended in this verdict.
    #[must_use]
    pub fn counted(&self, verdict: Verdict) -> u64 {
        self.counted_at(verdict.counter())
    }

    /// The entry of the map `verdicts` at `index`.
    #[must_use]
    pub fn counted_at(&self, index: u32) -> u64 {
        self.verdicts.borrow()[index as usize]
    }

    /// Packets that ended in any verdict.
    #[must_use]
    pub fn counted_in_all(&self) -> u64 {
        self.verdicts.borrow().iter().sum()
    }

    /// What was counted in a slot.
    #[must_use]
    pub fn traffic(&self, slot: TrafficSlot) -> Traffic {
        self.traffic
            .borrow()
            .get(&slot.index())
            .copied()
            .unwrap_or_default()
    }

    /// What the agent was told of since this was last asked.
    #[must_use]
    pub fn told(&self) -> Vec<Record> {
        self.told.take()
    }

    /// All flows, in no order.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowKey, Flow)> {
        self.flows
            .borrow()
            .iter()
            .map(|(key, flow)| (*key, flow.get()))
            .collect()
    }
}

impl Tables for HostTables {
    type Entry = HostEntry;

    fn settings(&self) -> Option<Settings> {
        Some(self.settings)
    }

    fn now(&self) -> Tick {
        self.now
    }

    fn concerns(&self, _port: u16) -> bool {
        true
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn flow(&self, key: &FlowKey) -> Option<HostEntry> {
        self.flows
            .borrow()
            .get(key)
            .map(|flow| HostEntry(Rc::clone(flow)))
    }

    fn recall(&self, key: &FlowKey) -> Option<Flow> {
        self.recent.borrow().get(key).copied()
    }

    fn epoch(&self, _key: &FlowKey) -> u32 {
        self.epoch.get()
    }

    fn remember(&self, key: &FlowKey, flow: &Flow, epoch: u32) {
        if epoch == self.epoch.get() {
            self.recent.borrow_mut().insert(*key, *flow);
        }
    }

    fn forget(&self, key: &FlowKey) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.recent.borrow_mut().remove(key);
    }

    fn add_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        if self.flows.borrow().contains_key(key) {
            return Err(Refused::Exists);
        }
        self.put_flow(key, flow)
    }

    fn put_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= self.room && !flows.contains_key(key) {
            return Err(Refused::Full);
        }
        flows.insert(*key, Rc::new(Cell::new(*flow)));
        Ok(())
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn ring(&self, service: ServiceId, slot: u32) -> Option<BackendId> {
        self.rings.get(&service)?.get(slot as usize).copied()
    }

    fn turn(&self, service: ServiceId) -> u32 {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(service).or_default();
        let now = *turn;
        *turn = now.wrapping_add(1);
        now
    }

    fn backend(&self, id: BackendId) -> Option<Backend> {
        self.backends.get(&id).copied()
    }

    fn next_hop(&self, _source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, Drop> {
        self.routes
            .get(&destination)
            .copied()
            .or(self.default_route)
            .ok_or(Drop::NoRoute)
    }

    fn tell(&self, record: &Record) {
        self.told.borrow_mut().push(*record);
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

/// A flow in the hash map.
#[derive(Clone, Debug)]
pub struct HostEntry(Rc<Cell<Flow>>);

impl HostEntry {
    fn change(&self, change: impl FnOnce(&mut Flow)) {
        let mut flow = self.0.get();
        change(&mut flow);
        self.0.set(flow);
    }
}

impl Entry for HostEntry {
    fn read(&self) -> Flow {
        self.0.get()
    }

    fn set_seen(&self, now: Tick) {
        self.change(|flow| flow.seen = now.0);
    }

    fn set_state(&self, state: State) {
        self.change(|flow| flow.state = state.0);
    }

    fn set_next_hop(&self, hop: &NextHop, generation: u32) {
        self.change(|flow| flow.goes_by(hop, generation));
    }

    fn claim(&self, old: &Flow, now: Tick) -> bool {
        let free = self.0.get().stamp() == old.stamp();
        if free {
            self.set_seen(now);
        }
        free
    }
}
