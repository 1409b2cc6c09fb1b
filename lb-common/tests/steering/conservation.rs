//! After any number of random packets, no source port or connection is lost or has two owners. The
//! connection table is so small that it fills up, and new connections replace old ones. NAT has so
//! few source ports that they run out, and released ones are reused only when the backend, which
//! may hold the old connection in TIME-WAIT, accepts a new one. A model of the connections is
//! updated from the verdicts and compared with the tables.
//! Longer than 500 lines: the packet generator, the model and its checks share one state.

use std::collections::{BTreeSet, HashMap};

use lb_common::{
    connection::{ClientKey, NO_ROW},
    limits::WAYS,
    table::Buckets,
    tcp::{Flags, Numbers},
    traffic::Direction,
};

use super::*;

/// Number of packets in each run, of which there is one for each of the [`SHAPES`]: a million in
/// total.
const PACKETS: u32 = 250_000;

/// Number of packets between two checks of all tables.
const BATCH: u32 = 1000;

/// Shapes of the tables, each with the number of entries of the connection table, and the number of
/// lines (of sixteen source ports each) from which NAT may claim ports for one source address at a
/// backend.
const SHAPES: [(u32, u16); 4] = [(16, 1), (64, 1), (64, 4), (1024, 1)];

#[test]
fn no_packet_port_or_connection_is_lost_or_given_twice() {
    for (entries, lines) in SHAPES {
        let seed = number("LB_CONSERVATION_SEED").unwrap_or(0x1b_2026);
        let packets = number("LB_CONSERVATION_PACKETS").unwrap_or(u64::from(PACKETS));
        let mut run = Run::new(seed, entries, lines);
        for _packet in 0..packets {
            run.step();
        }
        run.check_tables();
        println!("{entries} entries, {lines} lines: {:?}", run.met);
        run.has_met_what_is_rare();
    }
}

/// Reads a number from an environment variable; `None` if the variable is not set.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// The source address and port of a connection that its backend sees, and the backend's address.
type Path = ([u8; 4], u16, [u8; 4]);

/// What the test expects of a connection.
#[derive(Clone, Copy, Debug)]
struct Shadow {
    path: Path,
    state: State,
    /// Time of the connection's last steered packet.
    seen: Tick,
    /// Sequence number and timestamp with which the backend compares the next SYN on the same port.
    numbers: Numbers,
    /// Whether the connection's service keeps the client's address.
    dnat: bool,
}

impl Shadow {
    /// Whether the connection's entry and port must not be reused: it is open and has not timed
    /// out. A second is added to its idle time, because the table records times to the second.
    fn is_protected(&self, now: Tick) -> bool {
        let stands = [
            State::ESTABLISHED,
            State::CLOSING_BY_CLIENT,
            State::CLOSING_BY_BACKEND,
        ];
        let idle = now.since(self.seen) + HERTZ;
        stands.contains(&self.state) && idle <= self.state.timeout() * HERTZ
    }

    /// Whether the backend certainly holds the connection in TIME-WAIT at `now`.
    fn is_in_time_wait(&self, now: Tick) -> bool {
        self.state == State::LINGERING && now.since(self.seen) + 2 * HERTZ < 60 * HERTZ
    }
}

/// One run: tables that random packets go through, with the model of their connections.
struct Run {
    tables: HostTables,
    random: Random,
    seed: u64,
    sent: u64,
    /// Number of the client that sends or receives the current packet.
    turn: usize,
    connections: HashMap<FlowKey, Shadow>,
    /// The key of the client that last opened a connection on each path (the source address and
    /// port that the backend sees, and the backend).
    owners: HashMap<Path, FlowKey>,
    /// The last connection on each path (the source address and port that the backend sees, and the
    /// backend): after its port was released, and while the backend may still hold it in TIME-WAIT,
    /// the backend compares a SYN's sequence number and timestamp with this connection's.
    before: HashMap<Path, Shadow>,
    met: HashMap<String, u64>,
}

/// Prints how to repeat a run that failed.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, entries) = (self.seed, self.tables.settings.last_bucket + WAYS);
            let lines = self.tables.settings.lines;
            eprintln!(
                "LB_CONSERVATION_SEED={seed}: packet {} with {entries} entries and {lines} lines",
                self.sent
            );
        }
    }
}

const DNAT_PORT: u16 = 81;

/// Number of clients with the largest table.
const CLIENTS: usize = 240;

impl Run {
    fn new(seed: u64, entries: u32, lines: u16) -> Self {
        let mut tables = tables();
        let settings = Settings {
            last_bucket: entries - WAYS,
            lines,
            ..tables.settings
        };
        let before = std::mem::replace(&mut tables, HostTables::new(settings));
        tables.services = before.services;
        tables.rings = before.rings;
        tables.routes = before.routes;
        tables.default_route = before.default_route;
        tables.settings.source_addresses[0] = [172, 31, 0, 69];
        // Two backends have NAT, and the second of them sees two source addresses; two other
        // backends see the clients' own addresses.
        tables.backends = before.backends;
        for (id, backend) in &mut tables.backends {
            if id.0 < 2 {
                backend.rows = 1 + id.0;
            } else {
                (backend.dnat, backend.rows) = (1, 0);
                backend.service = ServiceId(2);
                backend.service_port = DNAT_PORT;
            }
        }
        let key = ServiceKey {
            address: VIP,
            port: DNAT_PORT,
            protocol: 6,
        };
        let dnat = Service {
            id: ServiceId(2),
            handling: Handling::Dnat as u8,
            pick: Pick::FlowHash as u8,
            retries: 1,
            ..Service::default()
        };
        tables.services.insert(key, dnat);
        tables
            .rings
            .insert(ServiceId(0), vec![BackendId(0), BackendId(1)]);
        tables
            .rings
            .insert(ServiceId(2), vec![BackendId(2), BackendId(3)]);
        tables.rebuild();
        Self {
            tables,
            random: Random(seed ^ u64::from(entries) << 32 ^ u64::from(lines) << 48),
            seed,
            sent: 0,
            turn: 0,
            connections: HashMap::new(),
            owners: HashMap::new(),
            before: HashMap::new(),
            met: HashMap::new(),
        }
    }

    fn step(&mut self) {
        self.pass_time();
        let client = self.client();
        let (packet, direction) = self.packet(client);
        let counted = self.tables.counted_total();
        let (verdict, bytes) = sent(&self.tables, &packet);
        self.sent += 1;
        assert_eq!(self.tables.counted_total(), counted + 1);
        *self.met.entry(format!("{verdict:?}")).or_default() += 1;
        assert_eq!(
            self.tables.counted(verdict),
            self.met[&format!("{verdict:?}")],
            "{verdict:?}"
        );
        match direction {
            Direction::In => self.judge_client(&packet, verdict, &bytes),
            Direction::Out => self.judge_backend(&packet, verdict, &bytes),
        }
        if self.sent.is_multiple_of(u64::from(BATCH)) {
            self.check_tables();
        }
    }

    /// Advances the clock: most packets follow immediately, a few after seconds, and occasionally
    /// one after longer than any time-out.
    fn pass_time(&mut self) {
        let ticks = match self.random.below(10_000) {
            0 => 4000 * HERTZ as usize,
            1..4 => self.random.below(130 * HERTZ as usize),
            4..20 => self.random.below(10 * HERTZ as usize),
            20..100 => self.random.below(HERTZ as usize),
            _ => self.random.below(2),
        };
        self.tables.now = Tick(self.tables.now.0.wrapping_add(ticks as u32));
    }

    /// Usually returns the client of the previous packet, so connections make progress before they
    /// are replaced.
    fn client(&mut self) -> FlowKey {
        if self.random.below(5) == 0 {
            let entries = (self.tables.settings.last_bucket + WAYS) as usize;
            self.turn = self.random.below(CLIENTS.min(entries * 3));
        }
        let number = self.turn;
        let address = [198, 51, 100, (number % 16) as u8];
        let service = if number.is_multiple_of(5) {
            DNAT_PORT
        } else {
            80
        };
        TcpPacket::key((address, 40_000 + number as u16), (VIP, service))
    }

    /// Usually returns the next packet of the client's connection; otherwise an arbitrary packet
    /// from the client or a backend, on a path that may meanwhile belong to another connection.
    fn packet(&mut self, client: FlowKey) -> (TcpPacket, Direction) {
        let known = self.connections.get(&client).copied();
        let any = [SYN, SYN_ACK, ACK, FIN_ACK, RST, RST | ACK, 0x00, 0xff][self.random.below(8)];
        let data = [ACK, ACK | 0x08][self.random.below(2)];
        let either = [Direction::In, Direction::Out][self.random.below(2)];
        let (flags, direction) = match (self.random.below(20), known.map(|one| one.state)) {
            (0, _) => (any, either),
            (1, _) => return (self.late(any), Direction::Out),
            (2, _) | (_, None) => (SYN, Direction::In),
            (3, Some(State::OPENING)) => (RST | ACK, Direction::Out),
            (_, Some(State::OPENING)) => (SYN_ACK, Direction::Out),
            (_, Some(State::ANSWERED)) => (ACK, Direction::In),
            (3 | 4, Some(_)) => (FIN_ACK, either),
            (5..12, Some(State::CLOSING_BY_CLIENT)) => (FIN_ACK, Direction::Out),
            (5..12, Some(State::CLOSING_BY_BACKEND)) => (FIN_ACK, Direction::In),
            (_, Some(state)) if state.is_over() => (SYN, Direction::In),
            (_, Some(_)) => (data, either),
        };
        let key = match (direction, known) {
            (Direction::Out, Some(shadow)) => from_backend(shadow.path),
            _ => client,
        };
        let direction = if key == client {
            Direction::In
        } else {
            Direction::Out
        };
        (self.filled(key, flags), direction)
    }

    /// Returns a packet of a random backend to a random source address and port, which a connection
    /// may use or not.
    fn late(&mut self, flags: u8) -> TcpPacket {
        let port = 10_240 + self.random.below(70) as u16;
        let seen = [VIP, [172, 31, 0, 69], [198, 51, 100, 3]][self.random.below(3)];
        let backend = [10, 0, 0, [6, 7, 9, 19][self.random.below(4)]];
        self.filled(from_backend((seen, port, backend)), flags)
    }

    /// Builds a packet whose sequence number and timestamp grow with the clock, as those of
    /// conforming clients do, or are arbitrary.
    fn filled(&mut self, key: FlowKey, flags: u8) -> TcpPacket {
        let now = self.tables.now.0;
        let skew = self.random.below(4 * HERTZ as usize) as u32;
        let stamps = !key.source_port.is_multiple_of(3);
        TcpPacket {
            ttl: if self.random.below(100) == 0 { 1 } else { 64 },
            sequence: now.wrapping_mul(1000).wrapping_sub(skew),
            acknowledgement: now.wrapping_mul(1000),
            timestamp: stamps.then(|| now.wrapping_add(1 << 20).wrapping_sub(skew)),
            payload: vec![7; self.random.below(3)],
            ..TcpPacket::new(key, flags)
        }
    }

    fn judge_client(&mut self, packet: &TcpPacket, verdict: Verdict, bytes: &[u8]) {
        let (client, now) = (packet.key, self.tables.now);
        let known = self.connections.get(&client).copied();
        let protected = known.is_some_and(|shadow| shadow.is_protected(now));
        match verdict {
            Verdict::Transmit(Steered::Flow) => {
                let shadow = known.expect("only a connection that was begun goes on");
                assert_eq!(path(key(bytes)), shadow.path, "its own path");
                if !shadow.dnat {
                    assert_eq!(self.owners[&shadow.path], client, "its own port");
                }
                self.note(client, packet, Direction::In);
            }
            Verdict::Transmit(how) => {
                assert!(!protected, "{known:?} began over");
                assert_eq!(packet.flags & (SYN | ACK | RST | 0x01), SYN);
                let is_retry = how == Steered::Retried;
                let may_retry = known.is_some_and(|shadow| shadow.state == State::OPENING);
                assert!(!is_retry || may_retry, "{known:?} was retried");
                self.begin(packet, path(key(bytes)));
            }
            Verdict::Drop(DropReason::TtlExpired) => assert_eq!(packet.ttl, 1),
            Verdict::Drop(DropReason::TableFull) => {
                assert!(!protected, "{known:?} was lost");
                self.is_full_for(&client);
            }
            Verdict::Drop(DropReason::NoSourcePort) => assert!(!protected, "{known:?} was lost"),
            Verdict::Pass(PassReason::NoFlow) => assert!(!protected, "{known:?} was lost"),
            other => panic!("{other:?} on {packet:?}"),
        }
    }

    fn judge_backend(&mut self, packet: &TcpPacket, verdict: Verdict, bytes: &[u8]) {
        let now = self.tables.now;
        let by = path(packet.key.reversed());
        let owner = self.owners.get(&by).copied();
        let shadow = owner.and_then(|owner| self.connections.get(&owner).copied());
        let shadow = shadow.filter(|shadow| shadow.path == by);
        match verdict {
            Verdict::Transmit(Steered::Flow) => {
                let owner = owner.expect("a client opened a connection on this path");
                assert!(shadow.is_some(), "{owner:?} has left {by:?}");
                assert_eq!(
                    key(bytes).reversed(),
                    owner,
                    "the client that holds the port"
                );
                self.note(owner, packet, Direction::Out);
            }
            Verdict::Drop(DropReason::Refused) => {
                let shadow = shadow.expect("a connection was refused");
                assert_eq!(shadow.state, State::OPENING);
                assert_eq!(packet.flags & RST, RST);
            }
            Verdict::Drop(DropReason::TtlExpired) => assert_eq!(packet.ttl, 1),
            Verdict::Pass(PassReason::NoFlow | PassReason::NotAService) => assert!(
                !shadow.is_some_and(|shadow| shadow.is_protected(now)),
                "{shadow:?} of {owner:?} was lost"
            ),
            other => panic!("{other:?} on {packet:?}"),
        }
    }

    fn begin(&mut self, packet: &TcpPacket, path: Path) {
        let (client, now) = (packet.key, self.tables.now);
        let dnat = client.destination_port == DNAT_PORT;
        let numbers = numbers(packet);
        if let Some(old) = self.connections.remove(&client) {
            self.before.insert(old.path, old);
        }
        if !dnat {
            if let Some(owner) = self.owners.insert(path, client)
                && let Some(other) = self.connections.get(&owner)
                && other.path == path
            {
                assert!(
                    !other.is_protected(now),
                    "{owner:?} lost its port: {other:?}"
                );
                self.before.insert(path, *other);
                self.connections.remove(&owner);
            }
            if let Some(before) = self.before.remove(&path)
                && before.is_in_time_wait(now)
            {
                assert!(
                    numbers.is_newer_than(before.numbers),
                    "the backend would refuse {numbers:?} after {before:?} at {now:?}"
                );
                *self.met.entry("a port in TIME-WAIT".into()).or_default() += 1;
            }
        } else {
            assert_eq!((path.0, path.1), (client.source, client.source_port));
            self.owners.insert(path, client);
        }
        let shadow = Shadow {
            path,
            state: State::OPENING,
            seen: now,
            numbers,
            dnat,
        };
        self.connections.insert(client, shadow);
    }

    /// Updates the model from a steered packet.
    fn note(&mut self, client: FlowKey, packet: &TcpPacket, direction: Direction) {
        let shadow = self.connections.get_mut(&client).expect("it is known");
        let flags = Flags(packet.flags);
        if direction == Direction::In && flags.finishes() {
            shadow.numbers = numbers(packet);
        }
        let crossed = direction == Direction::Out
            && flags.finishes()
            && (packet.acknowledgement != shadow.numbers.sequence
                || self.tables.now.since(shadow.seen) >= HERTZ / 8);
        shadow.state = (shadow.state.after(direction, flags)).with_crossed_fins(crossed);
        // While a connection is being opened, only a change of its state updates the recorded time
        // of its last packet.
        if shadow.state != State::OPENING {
            shadow.seen = self.tables.now;
        }
    }

    /// Verifies that every entry that the connection could use is established: only then is
    /// `TableFull` correct.
    fn is_full_for(&self, client: &FlowKey) {
        let buckets = Buckets::of(&ClientKey::of(client), &self.tables.settings);
        let all: HashMap<u32, Connection> = self.tables.connections().into_iter().collect();
        for first in buckets.first {
            for index in first..first + WAYS {
                let state = all.get(&index).map(Connection::state);
                assert!(
                    state.is_some_and(|state| !state.may_be_replaced()),
                    "entry {index} is free for {client:?}: {state:?}"
                );
            }
        }
    }

    fn check_tables(&self) {
        let now = self.tables.now;
        let all = self.tables.connections();
        let entries: HashMap<u32, Connection> = all.iter().copied().collect();
        let claimed = self.tables.claimed_ports();
        for (row, port, index) in &claimed {
            let holder = entries.get(index).expect("a port names a connection");
            assert_eq!((holder.row, holder.source_port), (*row, *port));
        }
        let claims: BTreeSet<(u16, u16)> = (all.iter())
            .filter(|(_, connection)| connection.row != NO_ROW)
            .map(|(_, connection)| (connection.row, connection.source_port))
            .collect();
        assert_eq!(claims.len(), claimed.len(), "each port is held once");
        let by_nat = all
            .iter()
            .filter(|(_, connection)| connection.row != NO_ROW);
        assert_eq!(
            by_nat.count(),
            claimed.len(),
            "each connection has its port"
        );
        let mut found = HashMap::new();
        for (_, connection) in &all {
            let client = connection.key().flow();
            assert!(
                found.insert(client, connection).is_none(),
                "{client:?} twice"
            );
            let shadow = self.connections.get(&client);
            let shadow = shadow.unwrap_or_else(|| panic!("no client opened {connection:?}"));
            assert_eq!(path(connection.to_backend()), shadow.path, "{connection:?}");
            assert_eq!(connection.state(), shadow.state, "{connection:?}");
        }
        for (client, shadow) in &self.connections {
            assert!(
                found.contains_key(client) || !shadow.is_protected(now),
                "{client:?} was lost: {shadow:?}"
            );
        }
    }

    /// Verifies that rare verdicts and events occurred in the run: a run in which no table filled
    /// up shows little.
    fn has_met_what_is_rare(&self) {
        let settings = &self.tables.settings;
        let mut rare = vec!["Transmit(Retried)", "Drop(Refused)", "Pass(NoFlow)"];
        if settings.last_bucket < 64 {
            rare.push("Drop(TableFull)");
        } else {
            rare.extend(["Drop(NoSourcePort)", "a port in TIME-WAIT"]);
        }
        for what in rare {
            assert!(self.met.contains_key(what), "no {what}: {:?}", self.met);
        }
    }
}

/// Returns the source address and port that a backend sees in a packet, and the backend's address.
fn path(to_backend: FlowKey) -> Path {
    (
        to_backend.source,
        to_backend.source_port,
        to_backend.destination,
    )
}

/// Returns the key of the packets from a backend to a source address and port that it sees.
fn from_backend((seen, port, backend): Path) -> FlowKey {
    TcpPacket::key((backend, 80), (seen, port))
}

/// Returns the sequence number and timestamp that a backend records from a client's SYN or FIN.
fn numbers(packet: &TcpPacket) -> Numbers {
    let end = if packet.flags & 0x01 == 0 {
        0
    } else {
        packet.payload.len() as u32 + 1
    };
    Numbers {
        sequence: packet.sequence.wrapping_add(end),
        timestamp: packet.timestamp.unwrap_or(0),
    }
}
