//! Tables: what the packet logic knows besides the packet.

use crate::{
    backend::{Backend, BackendId},
    flow::{Flow, FlowKey, NextHop, Tick},
    record::Record,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tcp::State,
    traffic::{Direction, TrafficSlot},
    verdict::{Drop, Verdict},
};

/// What the packet logic looks up, changes and counts: BPF maps in the kernel, hash tables on the
/// host. One value lives for one packet.
pub trait Tables {
    /// A place in the flow table, valid until the packet is done.
    type Entry: Entry;

    /// The settings; `None` only where the map is missing.
    fn settings(&self) -> Option<Settings>;

    /// The time now.
    fn now(&self) -> Tick;

    /// Whether a packet to this port may belong to a service or a flow. It may not: the common
    /// answer for the host's own traffic, and a much cheaper one than two look-ups.
    fn concerns(&self, port: u16) -> bool;

    /// The interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// The flow of packets with this key.
    fn flow(&self, key: &FlowKey) -> Option<Self::Entry>;

    /// The flow of packets with this key, if this CPU remembers it and nobody has had it forgotten
    /// since: as it was remembered, without a look-up in the flow table.
    fn recall(&self, key: &FlowKey) -> Option<Flow>;

    /// What [`Self::remember`] wants to be told. Read it before the flow.
    fn epoch(&self, key: &FlowKey) -> u32;

    /// Has this CPU remember a flow as it was after `epoch` was read.
    fn remember(&self, key: &FlowKey, flow: &Flow, epoch: u32);

    /// Has every CPU forget the flow of packets with this key, after it was changed.
    fn forget(&self, key: &FlowKey);

    /// Puts a flow where there is none.
    ///
    /// # Errors
    /// [`Refused::Exists`] where there is one, and it is left as it was.
    fn add_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused>;

    /// Puts a flow in place of one that may be there.
    ///
    /// # Errors
    /// [`Refused::Full`].
    fn put_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused>;

    /// Removes a flow, if there is one.
    fn remove_flow(&self, key: &FlowKey);

    /// The service that listens there.
    fn service(&self, key: &ServiceKey) -> Option<Service>;

    /// The backend in a slot of a service's ring.
    fn ring(&self, service: ServiceId, slot: u32) -> Option<BackendId>;

    /// Counts the service's turn on by one and returns what it was.
    fn turn(&self, service: ServiceId) -> u32;

    /// A backend by its number.
    fn backend(&self, id: BackendId) -> Option<Backend>;

    /// The next hop of a packet with these addresses.
    ///
    /// # Errors
    /// [`Drop::NoRoute`] or [`Drop::NoNeighbour`].
    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, Drop>;

    /// Tells the agent of a connection whose state changed.
    fn tell(&self, record: &Record);

    /// Counts a packet in its verdict.
    fn count_verdict(&self, verdict: Verdict);

    /// Counts a packet of `bytes` bytes in its traffic; `opens` where it begins a connection.
    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool);
}

/// A place in the flow table. Other packets may read and write it at the same time.
pub trait Entry {
    /// What stands there.
    fn read(&self) -> Flow;

    /// Notes when the last packet came.
    fn set_seen(&self, now: Tick);

    /// Notes how far the connection has come.
    fn set_state(&self, state: State);

    /// Notes another next hop.
    fn set_next_hop(&self, hop: &NextHop, generation: u32);

    /// Notes `now` as the time if the entry still has the stamp of `old`; of several packets that
    /// try at the same time, one succeeds.
    fn claim(&self, old: &Flow, now: Tick) -> bool;
}

/// Why the flow table took no entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// There is one with this key.
    Exists,
    /// There is no room.
    Full,
}
