//! The packet logic's two homes give the same packets the same bytes and the same verdicts.

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use lb::config::Balance;
use lb_common::{
    backend::{Backend, BackendState},
    flow::FlowKey,
    hop::NextHop,
    host::{HostTables, TcpPacket},
    limits::HOLD_SECONDS,
    ring::{self, Member, Ring},
    service::{Handling, Pick, Service, ServiceKey},
    settings::Settings,
    tick::Tick,
    verdict::{COUNTERS, Verdict},
};

use crate::{
    eventually,
    pair::{pass, records, told},
    stage::{BACKENDS, SOURCE_PORTS, Stage, VIP},
};

/// The way to clients, as the stage has it.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0x01];
/// The way to backends.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x02];
/// The balancer's own MAC address.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x68];

const PACKETS: usize = 20_000;

/// Entries of the stage's connection table.
const ENTRIES: u32 = 524_288;

#[test]
fn host_and_kernel_give_20000_packets_the_same_bytes_and_verdicts() {
    for (balance, pick) in [
        (Balance::RoundRobin, Pick::Turn),
        (Balance::Maglev, Pick::Flow),
    ] {
        // A thread each: the stage takes its thread out of the machine's network.
        std::thread::spawn(move || compare(balance, pick))
            .join()
            .expect("the homes agree");
    }
}

fn compare(balance: Balance, pick: Pick) {
    let stage = Stage::raise(balance);
    let mut host = host_tables(&stage, pick);
    let mut traffic = Traffic::new();
    let mut out = Vec::new();
    let mut changes = stage.dataplane.flows().export().expect("it tells");
    let mut told_by_kernel = records(&pass(&mut changes));
    host.settings.sync = 1;
    for number in 0..PACKETS / 2 {
        let packet = traffic.next();
        host.now = Tick(now_in_ticks(&host));
        hold_now_and_then(number, &stage, &mut host);
        let (control, _) = stage.feed_empty(&packet, &mut out);
        assert_eq!(
            (control, &out),
            (2, &packet),
            "the way to the kernel and back changes nothing"
        );
        let (action, _) = stage.feed(&packet, &mut out);
        let mut bytes = packet.clone();
        let verdict = host.steer(&mut bytes);
        assert_eq!(
            (action, &out),
            (action_of(verdict), &bytes),
            "packet {number} ({verdict:?} on the host): {packet:02x?}"
        );
        traffic.learn(verdict, &bytes);
    }
    let told_by_host = host.told();
    assert!(told_by_host.len() > PACKETS / 200, "{}", told_by_host.len());
    eventually("the kernel tells as much", Duration::from_secs(20), || {
        told_by_kernel.extend(records(&told(&mut changes)));
        told_by_kernel.len() >= told_by_host.len()
    });
    assert_eq!(told_by_kernel, told_by_host);
    let counted = stage.dataplane.counters().expect("the kernel's counters");
    let kernel: HashMap<_, _> = counted
        .verdicts
        .iter()
        .map(|count| ((count.verdict, count.reason), count.packets))
        .collect();
    for counter in COUNTERS {
        let here = host.counted_at(counter.index);
        assert_eq!(
            kernel[&(counter.verdict, counter.reason)],
            here,
            "{counter:?}"
        );
    }
    assert!(kernel[&("drop", "held")] > 0, "{kernel:?}");
    let steered = kernel[&("transmit", "flow")] + kernel[&("transmit", "new_flow")];
    assert!(
        steered > PACKETS as u64 / 8,
        "only {steered} packets were steered"
    );
    assert!(
        kernel.values().filter(|&&packets| packets > 0).count() >= 12,
        "{kernel:?}"
    );
}

/// Holds new connections back during a tenth of the packets, in both homes.
fn hold_now_and_then(number: usize, stage: &Stage, host: &mut HostTables) {
    let turn = number % 1000;
    if turn == 900 || turn == 0 {
        let on = turn == 900;
        stage.dataplane.hold(on).expect("the kernel agrees");
        host.settings.hold = u8::from(on);
        host.settings.held_until = host.now.0.wrapping_add(host.settings.hertz * HOLD_SECONDS);
    }
}

/// The XDP action of a verdict (linux/bpf.h, `enum xdp_action`).
fn action_of(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) => 1,
        Verdict::Pass(_) => 2,
        Verdict::Transmit(_) => 3,
        Verdict::Redirect(..) => 4,
    }
}

/// The kernel's clock in its ticks; where it began does not matter.
fn now_in_ticks(host: &HostTables) -> u32 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC_COARSE;
    let now = nix::time::clock_gettime(clock).expect("the time");
    let nanoseconds = Duration::from(now).as_nanos();
    (nanoseconds * u128::from(host.settings.hertz) / 1_000_000_000) as u32
}

fn hertz() -> u32 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC_COARSE;
    let tick = nix::time::clock_getres(clock).expect("the clock's resolution");
    (1_000_000_000 / Duration::from(tick).as_nanos()) as u32
}

/// The tables as the agent fills the kernel's for the stage.
fn host_tables(stage: &Stage, pick: Pick) -> HostTables {
    let settings = Settings {
        secret: stage.dataplane.secret().expect("the kernel's settings"),
        last_bucket: ENTRIES - 4,
        generation: 1,
        routes: 1,
        first_line: SOURCE_PORTS.start() / 16,
        lines: SOURCE_PORTS.end() / 16 - SOURCE_PORTS.start() / 16 + 1,
        lines_before_gap: u16::MAX,
        hertz: hertz(),
        ..Settings::default()
    };
    let mut host = HostTables::new(settings);
    let hop = |mac| NextHop {
        destination_mac: mac,
        source_mac: OWN,
        interface: stage.interface,
        neighbour: [172, 31, 0, mac[5]],
    };
    host.ingress = stage.interface;
    host.default_route = Some(hop(GATEWAY));
    let mut members = Vec::new();
    for (octet, id) in BACKENDS.into_iter().zip(0..) {
        let address = [10, 0, 0, octet];
        let state = BackendState::Up.number();
        let backend = Backend {
            address,
            port: 80,
            service: 0,
            state,
            row: id as u16,
            rows: 1,
            service_port: 80,
            service_address: VIP,
            ..Backend::default()
        };
        host.backends.insert(id, backend);
        host.routes.insert(address, hop(ROUTER));
        members.push(Member {
            id,
            identity: (address, 80),
            weight: 1,
        });
    }
    let ring = if pick == Pick::Turn {
        Ring::turns(&members, &[1; BACKENDS.len()])
    } else {
        Ring::maglev(&members, ring::capacity_of(&[1; BACKENDS.len()]))
    };
    let key = |port| ServiceKey {
        address: VIP,
        port,
        protocol: 6,
    };
    let nat = Handling::Nat as u8;
    let steered = Service {
        id: 0,
        handling: nat,
        pick: pick as u8,
        retries: 3,
        ..Service::default()
    };
    let agents = Service {
        id: 1,
        handling: Handling::Agent as u8,
        pick: pick as u8,
        ..Service::default()
    };
    host.services.insert(key(80), steered);
    host.services.insert(key(443), agents);
    host.rings.insert(0, ring.slots);
    host.settle();
    host
}

/// Packets of connections that come, talk and go, among packets of every other kind.
struct Traffic {
    random: u64,
    /// What backends would answer with: the key of their packets.
    backs: Vec<FlowKey>,
}

impl Traffic {
    fn new() -> Self {
        Self {
            random: 2026,
            backs: Vec::new(),
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let kind = self.below(16);
        if kind == 0 {
            return self.noise();
        }
        let mut packet = TcpPacket::new(self.key(), self.flags());
        packet.ttl = if self.below(50) == 0 {
            self.below(3) as u8
        } else {
            64
        };
        packet.vlans = (0..[0, 0, 0, 0, 0, 0, 0, 1][self.below(8)]).collect();
        packet.sequence = self.below(1 << 20) as u32;
        packet.timestamp = [None, Some(self.below(1000) as u32)][self.below(2)];
        packet.ip_options = [0, 0, 0, 3, 10][self.below(5)];
        packet.tcp_options = self.below(8);
        packet.payload = (0..self.below(300)).map(|byte| byte as u8).collect();
        let mut bytes = packet.bytes();
        match kind {
            1 => self.damage(&mut bytes, &packet),
            2 => bytes.truncate(14 + self.below(bytes.len() - 14)),
            // As Ethernet pads short frames.
            3 => bytes.extend([0; 6]),
            _ => {}
        }
        bytes
    }

    /// Notes where a connection went, so that its backend can answer.
    fn learn(&mut self, verdict: Verdict, bytes: &[u8]) {
        let new = matches!(
            verdict,
            Verdict::Transmit(lb_common::verdict::Steered::NewFlow)
        );
        let plain = bytes.get(12..14) == Some(&[8, 0]) && bytes.get(14) == Some(&0x45);
        if !new || !plain {
            return;
        }
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        self.backs
            .push(TcpPacket::key((four(30), port(36)), (four(26), port(34))));
    }

    fn key(&mut self) -> FlowKey {
        let client = Ipv4Addr::new(198, 51, 100, 10 + self.below(20) as u8).octets();
        let from = 40_000 + self.below(40) as u16;
        match self.below(8) {
            0 => TcpPacket::key((client, from), (VIP, 443)),
            1 => TcpPacket::key((client, from), (VIP, self.below(65_536) as u16)),
            2 => TcpPacket::key((client, from), ([172, 31, 0, 69], 80)),
            3 | 4 if !self.backs.is_empty() => {
                let which = self.below(self.backs.len());
                self.backs[which]
            }
            _ => TcpPacket::key((client, from), (VIP, 80)),
        }
    }

    fn flags(&mut self) -> u8 {
        match self.below(10) {
            0..=3 => 0x02,
            4 => 0x12,
            5..=7 => 0x10,
            8 => [0x11, 0x04, 0x14][self.below(3)],
            _ => self.below(256) as u8,
        }
    }

    /// Changes a few bytes, but for the sender's address: where answers go is the routing table's
    /// business, and the host's stand-in knows the stage's clients only.
    fn damage(&mut self, bytes: &mut [u8], packet: &TcpPacket) {
        let source = 14 + 4 * packet.vlans.len() + 12;
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len().min(100));
            if !(source..source + 4).contains(&at) && at >= 12 {
                bytes[at] = self.below(256) as u8;
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = 14 + self.below(200);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// SplitMix64: the same packets in every run.
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 16) as usize % limit
    }
}
