//! Tables: what the packet logic knows besides the packet.

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

/// Words of eight bytes that several CPUs read and write at once: an entry of `connections` or
/// `hops`.
pub trait Words: Copy {
    /// The word at this place, read in no order with others.
    fn load(&self, word: usize) -> u64;

    /// Writes a word, in no order with others.
    fn store(&self, word: usize, value: u64);

    /// Writes `new` where `old` stands, and says whether it did. Orders all that comes before it
    /// before all that comes after, on every CPU.
    fn exchange(&self, word: usize, old: u64, new: u64) -> bool;
}

/// Sixteen neighbouring source ports of a row: one cache line of `source_ports`.
pub trait Ports: Copy {
    /// What is claimed at this place, modulo 16: 0 where nothing is.
    fn load(&self, port: u32) -> u32;

    /// Writes `new` where `old` stands, and says whether it did; ordered as [`Words::exchange`].
    fn exchange(&self, port: u32, old: u32, new: u32) -> bool;
}

/// The memory that connections are kept in. The kernel and the agent both claim entries in it, by
/// the same rules: see [`crate::table`].
pub trait Shared {
    /// An entry of `connections`.
    type Entry: Words;
    /// A line of `source_ports`.
    type Line: Ports;

    /// The entry with this index; `None` past the end.
    fn entry(&self, index: u32) -> Option<Self::Entry>;

    /// The line of a row; `None` where there is no such row.
    fn line(&self, row: u16, line: u32) -> Option<Self::Line>;

    /// Orders all loads before it before all loads after it.
    fn order_loads(&self);
}

/// What the packet logic looks up, changes and counts: BPF maps in the kernel, plain memory on the
/// host. One value lives for one packet.
pub trait Tables: Shared {
    /// An entry of `hops`.
    type Hop: Words;

    /// The settings; `None` only where the map is missing.
    fn settings(&self) -> Option<&Settings>;

    /// The time now.
    fn now(&self) -> Tick;

    /// The interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// Whether packets can leave by this interface: it has our program, too.
    fn can_send(&self, interface: u32) -> bool;

    /// The word of the filter `listeners` that the bit of an address and port is in.
    fn listeners(&self, word: u32) -> Listeners;

    /// Whether the port may be one that NAT claimed.
    fn is_source_port(&self, port: u16) -> bool;

    /// A bucket of `endpoints`.
    fn endpoints(&self, bucket: u32) -> Option<&EndpointBucket>;

    /// The entry of `hops` with this index.
    fn hop(&self, index: u32) -> Option<Self::Hop>;

    /// The service that listens there.
    fn service(&self, key: &ServiceKey) -> Option<Service>;

    /// The backend that a number picks from a service's ring: numbers that follow each other pick
    /// slots that do. `None` while no backend takes new connections.
    fn ring(&self, service: ServiceId, number: u32) -> Option<BackendId>;

    /// Counts the service's turn on by one and returns what it was.
    fn turn(&self, service: ServiceId) -> u32;

    /// Advances this CPU's walk over the lines of a row by one turn and returns the turn before.
    fn line_turn(&self, row: u16) -> Turn;

    /// Moves this CPU's walk on from a line that had no port: see [`Turn::after_miss`] and
    /// [`Turn::after_second_miss`].
    fn miss(&self, row: u16, second: bool);

    /// The number of this CPU.
    fn cpu(&self) -> u32;

    /// A backend by its number.
    fn backend(&self, id: BackendId) -> Option<Backend>;

    /// The next hop of a packet with these addresses, by the kernel's routes and neighbours.
    ///
    /// # Errors
    /// [`DropReason::NoRoute`] or [`DropReason::NoNeighbour`].
    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, DropReason>;

    /// Tells the agent of a connection whose state changed.
    fn export_record(&self, record: &Record);

    /// Counts a packet in its verdict.
    fn count_verdict(&self, verdict: Verdict);

    /// Counts a packet of `bytes` bytes in its traffic; `opens` where it begins a connection.
    fn count_traffic(&self, slot: TrafficSlot, direction: Direction, bytes: u16, opens: bool);
}

/// The entry of `hops` in one value.
#[must_use]
#[inline(always)]
pub(crate) fn read_hop<W: Words>(entry: &W) -> Hop {
    let words: [u64; 4] = [entry.load(0), entry.load(1), entry.load(2), entry.load(3)];
    zerocopy::transmute!(words)
}
