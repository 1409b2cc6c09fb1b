//! The packet logic over atomics of the model checker (loom), with as few entries and source ports
//! as a scenario needs. All other tables are constant.

use std::rc::Rc;

use lb_common::{
    backend::{Backend, BackendId, BackendState},
    connection::{ClientKey, Connection, NO_ROW, Rewrite, WORDS},
    endpoint::EndpointBucket,
    flow::FlowKey,
    hop::NextHop,
    host::{HostTables, Slice, TcpPacket},
    limits::{PORTS_PER_LINE, WAYS},
    listener::Listeners,
    port::PortWord,
    record::Record,
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
    settings::Settings,
    steer::steer,
    table::Buckets,
    tables::{Ports, Shared, Tables, Words},
    tcp::State,
    tick::Tick,
    traffic::{Direction, TrafficSlot},
    verdict::{DropReason, Verdict},
    walk::Turn,
};
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) const VIP: [u8; 4] = [172, 31, 0, 68];
pub(crate) const BACKEND: [u8; 4] = [10, 0, 0, 6];
pub(crate) const HERTZ: u32 = 250;
pub(crate) const NOW: Tick = Tick(1_000_000);
/// The first of the sixteen source ports in the table of source ports of these tests, which is as
/// small as it can be: one line of [`PORTS_PER_LINE`] ports.
pub(crate) const PORT: u16 = 10_240;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN_ACK: u8 = 0x11;

/// Number of entries in the connection table: two buckets.
const ENTRIES: u32 = 2 * WAYS;

/// The tables that the threads of a scenario share.
pub(crate) struct Home {
    world: &'static HostTables,
    entries: Vec<[AtomicU64; WORDS]>,
    line: Vec<AtomicU32>,
}

impl Home {
    /// Creates tables whose entries hold these connections, in this order; NAT may claim `ports`
    /// source ports, from [`PORT`] on.
    pub(crate) fn with(connections: &[Connection], ports: u16) -> Rc<Self> {
        let empty = [0; WORDS];
        let words = |index: usize| connections.get(index).map_or(empty, Connection::words);
        let word = |port: u16| {
            let mut held = (0..).zip(connections);
            let holds = |one: &Connection| one.source_port == PORT + port && one.state().is_live();
            match held.find(|(_, one)| holds(one)) {
                Some((index, _)) => PortWord::held_by(index),
                None if port < ports => PortWord::FREE,
                None => PortWord::RESERVED,
            }
        };
        Rc::new(Self {
            world: WORLD.with(|world| *world),
            entries: (0..ENTRIES as usize)
                .map(|index| words(index).map(AtomicU64::new))
                .collect(),
            line: (0..PORTS_PER_LINE as u16)
                .map(|port| AtomicU32::new(word(port).0))
                .collect(),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// Steers a packet. Returns its verdict, and the addresses and ports with which it leaves.
    pub(crate) fn steer(&self, key: FlowKey, flags: u8) -> (Verdict, FlowKey) {
        let packet = TcpPacket {
            sequence: sequence(&key),
            ..TcpPacket::new(key, flags)
        };
        let mut bytes = packet.bytes();
        let verdict = steer(&mut Slice(&mut bytes), &self);
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let left = TcpPacket::key((four(26), port(34)), (four(30), port(36)));
        (verdict, left)
    }

    /// Verifies, after all threads have exited, that each connection is complete and in one entry,
    /// and that each port is held by the entry that the port's word names. Returns the connections.
    pub(crate) fn at_rest(self: Rc<Self>) -> Vec<Connection> {
        let mut home = Rc::into_inner(self).expect("all threads have ended");
        let mut connections = Vec::new();
        let mut held = Vec::new();
        for (index, entry) in (0..).zip(&mut home.entries) {
            let connection =
                Connection::of_words(entry.each_mut().map(|word| word.with_mut(|word| *word)));
            assert_ne!(
                connection.state(),
                State::CLAIMED,
                "entry {index} was left claimed"
            );
            if connection.state().is_live() {
                is_whole(&connection);
                if connection.row != NO_ROW {
                    held.push((connection.source_port, index));
                }
                connections.push(connection);
            }
        }
        let mut claimed = Vec::new();
        for (port, word) in (PORT..).zip(&mut home.line) {
            let word = PortWord(word.with_mut(|word| *word));
            claimed.extend(word.holder().map(|index| (port, index)));
        }
        held.sort_unstable();
        assert_eq!(claimed, held, "ports and the entries that hold them");
        let mut clients: Vec<u16> = connections.iter().map(|one| one.client_port).collect();
        clients.sort_unstable();
        clients.dedup();
        assert_eq!(clients.len(), connections.len(), "a client has two entries");
        connections
    }
}

/// Verifies that all words that were read belong to one connection. Its sequence number must be
/// that of its client's packets, the number that follows the client's FIN, or, if it was imported,
/// 0.
pub(crate) fn is_whole(connection: &Connection) {
    let key = connection.key();
    let change = Rewrite::of(
        &key,
        (connection.source, connection.source_port),
        (connection.backend_address, connection.backend_port),
    );
    assert_eq!(connection.towards_backend(), change, "{connection:?}");
    assert_eq!(client(connection.client_port), key.flow(), "{connection:?}");
    let own = sequence(&key.flow());
    let numbers = [0, own, own + 1];
    assert!(
        numbers.contains(&connection.client_sequence),
        "{connection:?}"
    );
}

/// Returns the key of the packets of the client with this port. Each client also has its own
/// address.
pub(crate) fn client(port: u16) -> FlowKey {
    TcpPacket::key(([198, 51, 100, port as u8], port), (VIP, 80))
}

/// Returns the key of the packets that the backend sends to this source port.
pub(crate) fn from_backend(port: u16) -> FlowKey {
    TcpPacket::key((BACKEND, 80), (VIP, port))
}

/// Returns the sequence number that all packets of a client have, derived from the client's port.
fn sequence(key: &FlowKey) -> u32 {
    1000 * u32::from(key.source_port)
}

/// Returns client `number`'s connection with this source port and state, idle for `idle` seconds.
pub(crate) fn connection(number: u16, port: u16, state: State, idle: u32) -> Connection {
    let flow = client(number);
    let key = ClientKey::of(&flow);
    let change = Rewrite::of(&key, (VIP, port), (BACKEND, 80));
    Connection {
        client: key.client,
        service: key.service,
        client_port: key.client_port,
        service_port: key.service_port,
        source_port: port,
        row: 0,
        state: state.0,
        mode: 0,
        serial: 1,
        seen: NOW.0 - idle * HERTZ,
        source: VIP,
        backend_address: BACKEND,
        backend_port: 80,
        backend: BackendId(0),
        segment_delta: change.segment_delta,
        address_delta: change.address_delta,
        client_hop: [0; 4],
        client_sequence: sequence(&flow),
        client_timestamp: 0,
        cookie: 0,
        pass: 0,
    }
}

/// Returns an established connection of client `number`, which must not be replaced.
pub(crate) fn kept(number: u16) -> Connection {
    // The table of source ports in these tests has sixteen ports from `PORT` on. This connection
    // has the port after them, which no other connection of a scenario can claim.
    let mut connection = connection(number, PORT + PORTS_PER_LINE as u16, State::ESTABLISHED, 0);
    connection.row = NO_ROW;
    connection
}

thread_local! {
    /// The common part of all scenarios: one service, one backend, and next hops that have been
    /// looked up.
    static WORLD: &'static HostTables = Box::leak(Box::new(world()));
}

fn world() -> HostTables {
    // With this secret, the hash maps the clients of all scenarios to the first bucket.
    let is_first = |secret: &u64| {
        let settings = Settings {
            secret: [*secret, 0],
            last_bucket: ENTRIES - WAYS,
            ..Settings::default()
        };
        let first = |number| Buckets::of(&ClientKey::of(&client(number)), &settings).first[0];
        (1..=3).all(|number| first(number) == 0)
    };
    let secret = (1..).find(is_first).expect("one of eight");
    let mut world = HostTables::new(Settings {
        secret: [secret, 0],
        last_bucket: ENTRIES - WAYS,
        generation: 1,
        routes: 1,
        first_line: PORT / PORTS_PER_LINE as u16,
        lines: 1,
        lines_before_gap: 1,
        hertz: HERTZ,
        ..Settings::default()
    });
    world.now = NOW;
    let key = ServiceKey {
        address: VIP,
        port: 80,
        protocol: 6,
    };
    let service = Service {
        handling: Handling::Nat as u8,
        pick: Pick::RoundRobin as u8,
        ..Service::default()
    };
    let backend = Backend {
        address: BACKEND,
        port: 80,
        state: BackendState::Up.number(),
        rows: 1,
        service_port: 80,
        service_address: VIP,
        ..Backend::default()
    };
    world.services.insert(key, service);
    world.backends.insert(BackendId(0), backend);
    world.rings.insert(ServiceId(0), vec![BackendId(0)]);
    world.default_route = Some(NextHop {
        destination_mac: [2, 0, 0, 0, 0, 1],
        source_mac: [2, 0, 0, 0, 0, 0x68],
        interface: 1,
        neighbour: [172, 31, 0, 1],
    });
    world.rebuild();
    // Look up the next hops once before any scenario: otherwise the first run of a scenario would
    // differ from the later ones.
    for (key, flags) in [
        (client(1), SYN),
        (from_backend(first_port(&world)), SYN_ACK),
        (client(1), ACK),
    ] {
        world.steer(&mut TcpPacket::new(key, flags).bytes());
    }
    world
}

/// Opens client 1's connection and returns its source port.
fn first_port(world: &HostTables) -> u16 {
    world.steer(&mut TcpPacket::new(client(1), SYN).bytes());
    world.claimed_ports()[0].1
}

/// A word of an entry with exactly the guarantees of [`Words`]: relaxed loads and stores, and a
/// compare-and-exchange that is a full barrier.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(&'a [AtomicU64; WORDS]);

impl Words for Entry<'_> {
    fn load(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    fn store(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    fn exchange(&self, word: usize, old: u64, new: u64) -> bool {
        fence(Ordering::SeqCst);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let done = self.0[word].compare_exchange(old, new, success, failure);
        fence(Ordering::SeqCst);
        done.is_ok()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Line<'a>(&'a [AtomicU32]);

impl Ports for Line<'_> {
    fn load(&self, port: u32) -> u32 {
        self.0[(port % PORTS_PER_LINE) as usize].load(Ordering::Relaxed)
    }

    fn exchange(&self, port: u32, old: u32, new: u32) -> bool {
        fence(Ordering::SeqCst);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let word = &self.0[(port % PORTS_PER_LINE) as usize];
        let done = word.compare_exchange(old, new, success, failure);
        fence(Ordering::SeqCst);
        done.is_ok()
    }
}

impl<'a> Shared for &'a Home {
    type Entry = Entry<'a>;
    type Line = Line<'a>;

    fn entry(&self, index: u32) -> Option<Self::Entry> {
        self.entries.get(index as usize).map(Entry)
    }

    fn line(&self, row: u16, line: u32) -> Option<Self::Line> {
        (row == 0 && line == u32::from(PORT) / PORTS_PER_LINE).then_some(Line(&self.line))
    }

    fn order_loads(&self) {
        fence(Ordering::SeqCst);
    }
}

impl Tables for &Home {
    type Hop = <&'static HostTables as Tables>::Hop;

    fn settings(&self) -> Option<&Settings> {
        Some(&self.world.settings)
    }

    fn now(&self) -> Tick {
        NOW
    }

    fn ingress(&self) -> u32 {
        Tables::ingress(&self.world)
    }

    fn can_send(&self, interface: u32) -> bool {
        self.world.can_send(interface)
    }

    fn listeners(&self, word: u32) -> Listeners {
        self.world.listeners(word)
    }

    fn is_source_port(&self, port: u16) -> bool {
        self.world.is_source_port(port)
    }

    fn endpoints(&self, bucket: u32) -> Option<&EndpointBucket> {
        Tables::endpoints(&self.world, bucket)
    }

    fn hop(&self, index: u32) -> Option<Self::Hop> {
        self.world.hop(index)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.world.service(key)
    }

    fn ring(&self, service: ServiceId, number: u32) -> Option<BackendId> {
        self.world.ring(service, number)
    }

    fn turn(&self, _service: ServiceId) -> u32 {
        0
    }

    fn line_turn(&self, _row: u16) -> Turn {
        Turn::default()
    }

    fn miss(&self, _row: u16, _second: bool) {}

    fn cpu(&self) -> u32 {
        0
    }

    fn backend(&self, id: BackendId) -> Option<Backend> {
        self.world.backend(id)
    }

    fn next_hop(&self, source: [u8; 4], destination: [u8; 4]) -> Result<NextHop, DropReason> {
        self.world.next_hop(source, destination)
    }

    fn export_record(&self, _record: &Record) {}

    fn count_verdict(&self, _verdict: Verdict) {}

    fn count_traffic(&self, _slot: TrafficSlot, _way: Direction, _bytes: u16, _opens: bool) {}
}
