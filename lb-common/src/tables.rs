//! The tables that the packet logic uses.

use crate::{
    backend::{Backend, BackendId},
    endpoint::EndpointBucket,
    hop::{Hop, NextHop},
    listener::Listeners,
    record::Record,
    service::{Service, ServiceId, ServiceKey},
    settings::Settings,
    tick::Tick,
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, Verdict},
    walk::Turn,
};

/// Words of eight bytes that several CPUs read and write concurrently: an entry of `connections` or
/// `hops`.
pub trait Words: Copy {
    /// Reads the word with this index (relaxed: not ordered with other accesses).
    fn load(&self, word: usize) -> u64;

    /// Writes the word with this index (relaxed: not ordered with other accesses).
    fn store(&self, word: usize, value: u64);

    /// Compare-and-exchange: writes `new` if the word is `old`, and returns whether it did. The
    /// operation is a full memory barrier on every CPU.
    fn exchange(&self, word: usize, old: u64, new: u64) -> bool;
}

/// Sixteen adjacent source ports of a row (the source ports of one backend and source address): one
/// cache line of `source_ports`.
pub trait Ports: Copy {
    /// Reads the word of a source port, given the port modulo 16; 0 if the port is free.
    fn load(&self, port: u32) -> u32;

    /// Compare-and-exchange of the word of a source port, as [`Words::exchange`].
    fn exchange(&self, port: u32, old: u32, new: u32) -> bool;
}

/// The memory that holds connections. The kernel and the agent both claim entries in it, by the
/// same protocol: see [`crate::table`].
pub trait Shared {
    /// An entry of the map `connections`.
    type Entry: Words;
    /// A line of the map `source_ports`, which is the words of sixteen adjacent source ports.
    type Line: Ports;

    /// Returns the entry of `connections` with this index; `None` past the end of the table.
    fn entry(&self, index: u32) -> Option<Self::Entry>;

    /// Returns a line of sixteen source ports of a row, which has the ports of one backend and
    /// source address; `None` if the row does not exist.
    fn line(&self, row: u16, line: u32) -> Option<Self::Line>;

    /// A load barrier: orders all earlier loads before all later ones.
    fn order_loads(&self);
}

/// Everything that the packet logic looks up, changes and counts: BPF maps in the kernel, plain
/// memory on the host. In the kernel, a value of this type is used for one packet only.
pub trait Tables: Shared {
    /// An entry of the map `hops`.
    type Hop: Words;

    /// Returns the settings of the packet path; `None` only if their map is missing.
    fn settings(&self) -> Option<&Settings>;

    /// Returns the current time in ticks.
    fn now(&self) -> Tick;

    /// Returns the index of the interface that the packet arrived on.
    fn ingress(&self) -> u32;

    /// Whether packets can be redirected to this interface: it must have the XDP program.
    fn can_send(&self, interface: u32) -> bool;

    /// Returns the word with this index of the map `listeners`, a filter like a Bloom filter that
    /// tells whether there may be a service at an address and port.
    fn listeners(&self, word: u32) -> Listeners;

    /// Whether NAT may claim this port as the source port of a connection.
    fn is_source_port(&self, port: u16) -> bool;

    /// Returns the bucket of `endpoints` with this index; `None` past the end of the map.
    fn endpoints(&self, bucket: u32) -> Option<&EndpointBucket>;

    /// Returns the entry of `hops` with this index; `None` past the end of the map.
    fn hop(&self, index: u32) -> Option<Self::Hop>;

    /// Returns the service with this address and port; `None` if there is none.
    fn service(&self, key: &ServiceKey) -> Option<Service>;

    /// Returns the backend in a slot of the service's ring; consecutive numbers (modulo the size)
    /// are consecutive slots. `None` if no backend accepts new connections.
    fn ring(&self, service: ServiceId, number: u32) -> Option<BackendId>;

    /// Increments the service's round-robin counter and returns its previous value.
    fn turn(&self, service: ServiceId) -> u32;

    /// Advances this CPU's position in a row of source ports by one new connection, and returns the
    /// previous position, which gives the line of sixteen ports to try: see [`Turn::next`].
    fn line_turn(&self, row: u16) -> Turn;

    /// Advances this CPU's position in a row of source ports past a line of sixteen in which no
    /// port could be claimed: see [`Turn::after_miss`] and, if `second` is set,
    /// [`Turn::after_second_miss`].
    fn miss(&self, row: u16, second: bool);

    /// Returns the number of the CPU that handles the packet.
    fn cpu(&self) -> u32;

    /// Returns the backend with this index; `None` if there is no entry for it.
    fn backend(&self, id: BackendId) -> Option<Backend>;

    /// Looks up the next hop of a packet with these addresses in the kernel's routes and
    /// neighbours.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`] or [`DropReason::NoNeighbour`].
    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, DropReason>;

    /// Reports to the agent a connection whose state changed.
    fn export_record(&self, record: &Record);

    /// Increments the count of packets with this verdict.
    fn count_verdict(&self, verdict: Verdict);

    /// Counts a packet of `bytes` bytes for a service or backend; `opens` tells whether it opens a
    /// connection.
    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool);
}

/// Reads an entry of the map `hops`.
#[must_use]
#[inline(always)]
pub(crate) fn read_hop<W: Words>(entry: &W) -> Hop {
    let words: [u64; 4] = [entry.load(0), entry.load(1), entry.load(2), entry.load(3)];
    zerocopy::transmute!(words)
}
