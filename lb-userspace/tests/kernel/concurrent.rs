//! Tests of invariants while several CPUs run the XDP program concurrently: each packet is counted,
//! a connection has one entry in the connection table, and a source port belongs to one connection.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    thread,
};

use aya::{
    maps::{Array, Map, MapData},
    programs::Xdp,
};
use lb::config::Balance;
use lb_common::{
    connection::Connection, flow::FlowKey, host::TcpPacket, limits::PORTS_PER_LINE, port::PortWord,
    tcp::State,
};
use nix::sched::{CpuSet, sched_setaffinity};

use crate::{
    ACK, FIN_ACK, SYN, SYN_ACK, XDP_DROP, XDP_PASS, XDP_TX, client,
    handover::replaced,
    on_a_host,
    stage::{self, BACKENDS, Setup, Stage},
};

/// A thread that is pinned to a CPU, and that feeds packets to the XDP program.
struct Feeder {
    program: Xdp,
    interface: u32,
    sent: u64,
    out: Vec<u8>,
}

impl Feeder {
    /// Pins this thread to a CPU; if the machine has fewer CPUs, several threads share one.
    fn on(cpu: usize, interface: u32) -> Self {
        let mut cpus = CpuSet::new();
        cpus.set(cpu).expect("a CPU that there can be");
        let _alone = sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus);
        let program = Xdp::from_pin(
            stage::settings().pin_path.join("program"),
            aya_obj::programs::XdpAttachType::Interface,
        );
        Self {
            program: program.expect("the pinned program"),
            interface,
            sent: 0,
            out: Vec::new(),
        }
    }

    /// Feeds one packet. Returns the XDP action, and the addresses and ports of the packet that
    /// results.
    fn feed(&mut self, key: FlowKey, flags: u8) -> (u32, FlowKey) {
        self.sent += 1;
        let packet = TcpPacket::new(key, flags).bytes();
        let (action, _) = stage::test_run(&self.program, self.interface, &packet, &mut self.out);
        let out = &self.out;
        let octets = |at: usize| [out[at], out[at + 1], out[at + 2], out[at + 3]];
        let port = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
        let left = TcpPacket::key((octets(26), port(34)), (octets(30), port(36)));
        (action, left)
    }
}

/// Returns the number of packets that were counted with each verdict and reason.
fn verdicts(stage: &Stage) -> HashMap<(&'static str, &'static str), u64> {
    let counters = stage.dataplane.counters().expect("the kernel's counters");
    let counts = counters.verdicts.iter();
    counts
        .map(|count| ((count.verdict, count.reason), count.packets))
        .collect()
}

/// Opens the pinned map with this name, an array, of the running program.
pub(crate) fn pinned<const N: usize>(name: &str) -> Array<MapData, [u8; N]> {
    let map = MapData::from_pin(stage::settings().pin_path.join(name)).expect(name);
    Map::Array(map).try_into().expect("an array")
}

/// Returns the live connections of the connection table, which must not change meanwhile. Asserts
/// that no CPU still claims an entry for a new connection, that a client has one entry, and that
/// source ports name exactly the entries that hold them.
fn at_rest() -> Vec<Connection> {
    let mut held = HashSet::new();
    let mut connections: Vec<Connection> = Vec::new();
    for (index, entry) in
        (0..).zip(pinned::<{ size_of::<Connection>() }>("maps/connections").iter())
    {
        let connection: Connection = zerocopy::transmute!(entry.expect("an entry"));
        assert_ne!(connection.state(), State::CLAIMED, "entry {index}");
        if connection.state().is_live() {
            held.insert((connection.row, connection.source_port, index));
            connections.push(connection);
        }
    }
    let mut claimed = HashSet::new();
    for row in 0..BACKENDS.len() as u16 {
        let lines = pinned::<{ 4 * PORTS_PER_LINE as usize }>(&format!("source_ports/{row}"));
        for (line, bytes) in (0..).zip(lines.iter()) {
            let words: [u32; PORTS_PER_LINE as usize] =
                zerocopy::transmute!(bytes.expect("a line"));
            for (at, word) in (0..).zip(words) {
                let holder = PortWord(word).holder();
                claimed.extend(holder.map(|index| (row, line * PORTS_PER_LINE as u16 + at, index)));
            }
        }
    }
    assert_eq!(claimed, held, "ports and the entries that hold them");
    let clients: HashSet<_> = connections.iter().map(|one| one.key().flow()).collect();
    assert_eq!(clients.len(), connections.len(), "a client has two entries");
    connections
}

/// Runs two closures repeatedly on two threads, each time at the same moment.
#[derive(Default)]
struct Together(AtomicU32);

impl Together {
    fn wait(&self, round: u32) {
        self.0.fetch_add(1, SeqCst);
        while self.0.load(SeqCst) < 2 * (round + 1) {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn one_syn_on_both_cpus_at_once_begins_one_connection() {
    const ROUNDS: u32 = 20_000;
    on_a_host(|| {
        let stage = Stage::raise(Balance::RoundRobin);
        let (interface, together) = (stage.interface, Together::default());
        let run = |cpu| {
            let mut feeder = Feeder::on(cpu, interface);
            let outcomes = (0..ROUNDS).map(|round| {
                together.wait(round);
                feeder.feed(client(round), SYN)
            });
            outcomes.collect::<Vec<_>>()
        };
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| run(1));
            let first = scope.spawn(|| run(0)).join().expect("the first CPU");
            (first, other.join().expect("the second CPU"))
        });
        let mut begun = 0;
        for (round, pair) in first.iter().zip(&second).enumerate() {
            let pair = [pair.0, pair.1];
            let ways: HashSet<_> = (pair.iter().filter(|(action, _)| *action == XDP_TX))
                .map(|(_, way)| (way.source, way.source_port, way.destination))
                .collect();
            assert!(ways.len() <= 1, "round {round}: {pair:?}");
            assert!(
                pair.iter()
                    .all(|(action, _)| [XDP_TX, XDP_DROP].contains(action)),
                "round {round}: {pair:?}"
            );
            begun += ways.len() as u64;
        }
        let verdicts = verdicts(&stage);
        println!("{verdicts:?}");
        let count = |verdict, reason| verdicts[&(verdict, reason)];
        assert_eq!(count("transmit", "new_flow"), begun);
        let accounted = begun + count("transmit", "flow") + count("drop", "contended");
        assert_eq!(accounted, 2 * u64::from(ROUNDS));
        assert_eq!(at_rest().len() as u64, begun);
    });
}

/// A setup with the smallest connection table, which has sixteen buckets.
const SMALL: Setup<'_> = Setup {
    balance: Balance::RoundRobin,
    services: &[(80, &BACKENDS)],
    max_connections: 1,
    source_addresses: &[],
};

#[test]
fn connections_that_replace_each_other_are_never_read_as_a_mixture() {
    const PACKETS: u32 = 60_000;
    on_a_host(|| {
        let stage = Stage::raise_as(&SMALL);
        let (interface, over) = (stage.interface, AtomicBool::new(false));
        // The number of the client, the source port and the backend of the connection that the main
        // thread opened last.
        let last: [AtomicU32; 3] = Default::default();
        let (begun, read, sent) = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut feeder = Feeder::on(1, interface);
                let mut read = Vec::new();
                while !over.load(SeqCst) {
                    let [number, port, octet] = last.each_ref().map(|one| one.load(SeqCst));
                    let back =
                        TcpPacket::key(([10, 0, 0, octet as u8], 80), (stage::VIP, port as u16));
                    // ACKs do not prevent the connection's entry from being replaced.
                    let (action, left) = feeder.feed(back, ACK);
                    read.extend((action == XDP_TX).then(|| (left.reversed(), back)));
                    let (action, left) = feeder.feed(client(number), ACK);
                    read.extend((action == XDP_TX).then(|| (client(number), left.reversed())));
                }
                (read, feeder.sent)
            });
            let mut feeder = Feeder::on(0, interface);
            let mut begun = HashSet::new();
            for number in 0..PACKETS {
                let (action, left) = feeder.feed(client(number % 1000), SYN);
                if action == XDP_TX {
                    begun.insert((client(number % 1000), left.reversed()));
                    let now = [
                        number % 1000,
                        left.source_port.into(),
                        left.destination[3].into(),
                    ];
                    for (place, value) in last.iter().zip(now) {
                        place.store(value, SeqCst);
                    }
                }
            }
            over.store(true, SeqCst);
            let (read, sent) = reader.join().expect("the reader");
            (begun, read, sent + feeder.sent)
        });
        println!(
            "{} begun, {} read: {:?}",
            begun.len(),
            read.len(),
            verdicts(&stage)
        );
        assert!(begun.len() > 1000, "connections replaced each other");
        assert!(read.len() > 100, "the reader met some: {}", read.len());
        for pair in &read {
            assert!(begun.contains(pair), "never begun: {pair:?}");
        }
        assert_eq!(verdicts(&stage).values().sum::<u64>(), sent);
        assert_eq!(at_rest().len(), 64, "the table is full");
    });
}

#[test]
fn the_next_agent_adopts_tables_that_both_cpus_write_to() {
    const AGENTS: u32 = 3;
    on_a_host(|| {
        let mut stage = Stage::raise_as(&SMALL);
        let (interface, over) = (stage.interface, AtomicBool::new(false));
        let run = |cpu: usize| {
            let mut feeder = Feeder::on(cpu, interface);
            // Both CPUs send packets of the same clients, in different orders.
            for number in (0_u32..).map(|number| number * [3, 7][cpu] % 400) {
                if over.load(SeqCst) {
                    break;
                }
                let (action, left) = feeder.feed(client(number), SYN);
                assert_ne!(action, XDP_PASS);
                if action != XDP_TX {
                    continue;
                }
                let back = left.reversed();
                for (key, flags) in [
                    (back, SYN_ACK),
                    (client(number), ACK),
                    (client(number), FIN_ACK),
                    (back, FIN_ACK),
                ] {
                    feeder.feed(key, flags);
                }
            }
            feeder.sent
        };
        let (dataplane, sent): (_, u64) = thread::scope(|scope| {
            let cpus = [0, 1].map(|cpu| {
                let run = &run;
                scope.spawn(move || run(cpu))
            });
            let mut dataplane = stage.dataplane;
            for _agent in 0..AGENTS {
                dataplane = replaced(dataplane, &SMALL.settings());
                assert!(dataplane.adopted());
            }
            over.store(true, SeqCst);
            let sent = cpus.map(|cpu| cpu.join().expect("a CPU"));
            (dataplane, sent.iter().sum())
        });
        stage.dataplane = dataplane;
        println!("{sent} packets: {:?}", verdicts(&stage));
        assert!(sent > 1000, "only {sent} packets");
        assert_eq!(verdicts(&stage).values().sum::<u64>(), sent);
        at_rest();
    });
}
