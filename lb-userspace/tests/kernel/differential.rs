//! The packet logic's two homes give the same packets the same bytes and the same verdicts.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aya::maps::{Array, MapData};
use lb::{
    config::{self, Balance, Forward, Interfaces, Mode, Name, Node, Pool, Weight, WhenAllDown},
    pool::PoolView,
};
use lb_common::{
    backend::{Backend, BackendId, BackendState},
    connection::Connection,
    flow::FlowKey,
    hop::NextHop,
    host::{HostTables, TcpPacket},
    limits::HOLD_SECONDS,
    ring::{self, Member, Ring},
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
    settings::Settings,
    tick::Tick,
    verdict::{COUNTERS, Steered, Verdict},
};

use crate::{
    concurrent::pinned,
    eventually, on_a_host,
    pair::{pass, records, told},
    stage::{self, BACKENDS, SOURCE_PORTS, Setup, Stage, VIP},
};

/// The way to clients, as the stage has it.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0x01];
/// The way to backends.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x02];
/// The way to the backends at the second interface.
const SECOND_ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x03];
/// The balancer's own MAC address.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x68];
/// That of its second interface.
const SECOND_OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x69];

/// Packets of a scene in a normal run.
const PACKETS: usize = 20_000;

/// Packets of a scene, as many as `LB_DIFFERENTIAL_PACKETS` asks for.
fn packets() -> usize {
    std::env::var("LB_DIFFERENTIAL_PACKETS")
        .map_or(PACKETS, |text| text.parse().expect("a number of packets"))
}

/// Entries of the stage's connection table: few, for all are read now and then (see [`Seen`]).
const ENTRIES: u32 = 4096;

#[test]
fn host_and_kernel_give_each_packet_the_same_bytes_and_verdict() {
    for (balance, pick) in [
        (Balance::RoundRobin, Pick::RoundRobin),
        (Balance::Maglev, Pick::FlowHash),
    ] {
        on_a_host(move || {
            let stage = Stage::raise_as(&Setup {
                balance,
                services: &[(80, &BACKENDS)],
                max_connections: ENTRIES / 4,
                source_addresses: &[],
            });
            let mut host = host_tables(&stage, pick);
            host.rebuild();
            let traffic = Traffic::new(&[80]);
            let kernel = compare(&stage, host, traffic);
            assert!(kernel[&("drop", "held")] > 0, "{kernel:?}");
            let steered = kernel[&("transmit", "flow")] + kernel[&("transmit", "new_flow")];
            assert!(
                steered > packets() as u64 / 8,
                "only {steered} packets were steered"
            );
        });
    }
}

#[test]
fn host_and_kernel_agree_where_tables_fill_and_ports_run_out() {
    for (balance, pick) in [
        (Balance::RoundRobin, Pick::RoundRobin),
        (Balance::Source, Pick::SourceHash),
    ] {
        on_a_host(move || {
            let (stage, host) = small(balance, pick);
            let traffic = Traffic::new(&[80, 80, DNAT_PORT]);
            let kernel = compare(&stage, host, traffic);
            for what in [
                ("drop", "table_full"),
                ("drop", "no_source_port"),
                ("drop", "refused"),
                ("transmit", "retried"),
                ("redirect", "flow"),
                ("redirect", "new_flow"),
                ("redirect", "retried"),
            ] {
                assert!(kernel[&what] > 0, "no {what:?}: {kernel:?}");
            }
        });
    }
}

/// Feeds packets to both homes, and returns what the kernel counted.
fn compare(
    stage: &Stage,
    mut host: HostTables,
    mut traffic: Traffic,
) -> HashMap<(&'static str, &'static str), u64> {
    let mut out = Vec::new();
    let mut changes = stage.dataplane.flows().export().expect("it tells");
    let mut told_by_kernel = records(&pass(&mut changes));
    let mut told_by_host = Vec::new();
    host.settings.export = 1;
    let mut clock = Clock::new(host.settings.hertz);
    let seen = Seen::of_table();
    seen.set_clock(&mut clock, stage, &mut host);
    for number in 0..packets() {
        let packet = traffic.next();
        host.now = clock.early_in_a_tick();
        hold_now_and_then(number, stage, &mut host);
        if number < PACKETS {
            let (control, _) = stage.feed_empty(&packet, &mut out);
            assert_eq!(
                (control, &out),
                (2, &packet),
                "the way to the kernel and back changes nothing"
            );
            host.now = clock.early_in_a_tick();
        }
        let (action, _) = stage.feed(&packet, &mut out);
        if clock.has_moved() {
            host.now = seen.last_after(host.now);
        }
        let mut bytes = packet.clone();
        let verdict = host.steer(&mut bytes);
        assert_eq!(
            (action, &out),
            (action_of(verdict), &bytes),
            "packet {number} ({verdict:?} on the host): {packet:02x?}"
        );
        traffic.learn(verdict, &packet, &bytes);
        // The ring of changes is not to overflow.
        if number % 1000 == 999 {
            told_by_host.extend(host.take_exported());
            told_by_kernel.extend(records(&told(&mut changes)));
            let told = told_by_kernel.len().min(told_by_host.len());
            assert_eq!(told_by_kernel[..told], told_by_host[..told]);
            told_by_kernel.drain(..told);
            told_by_host.drain(..told);
            traffic.told += told;
        }
    }
    told_by_host.extend(host.take_exported());
    eventually("the kernel tells as much", Duration::from_secs(20), || {
        told_by_kernel.extend(records(&told(&mut changes)));
        told_by_kernel.len() >= told_by_host.len()
    });
    assert_eq!(told_by_kernel, told_by_host);
    let told = traffic.told + told_by_host.len();
    assert!(told > packets() / 500, "{told}");
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
    assert!(
        kernel.values().filter(|&&packets| packets > 0).count() >= 12,
        "{kernel:?}"
    );
    println!("{} packets: {kernel:?}", packets());
    kernel
}

/// The kernel's clock in its ticks; where it began does not matter.
struct Clock {
    tick: Duration,
    ticks: u32,
    /// The coarse clock, which stands still within a tick.
    coarse: Duration,
    /// When the tick began, where that was seen.
    began: Option<Duration>,
    looked: Duration,
}

impl Clock {
    fn new(hertz: u32) -> Self {
        Self {
            tick: Duration::from_secs(1) / hertz,
            ticks: 1_000_000,
            coarse: Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE),
            began: None,
            looked: Duration::ZERO,
        }
    }

    fn time(clock: nix::time::ClockId) -> Duration {
        nix::time::clock_gettime(clock).expect("the time").into()
    }

    /// Whether another tick has begun since the last look.
    fn has_moved(&self) -> bool {
        Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE) != self.coarse
    }

    /// The tick that it is, and will be for longer than a packet takes: which connection is the oldest
    /// depends on it. A tick is a little longer or shorter than its name while the time is being
    /// corrected, so that only the coarse clock tells when one begins.
    fn early_in_a_tick(&mut self) -> Tick {
        loop {
            let coarse = Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
            let now = Self::time(nix::time::ClockId::CLOCK_MONOTONIC);
            if coarse != self.coarse {
                let passed = coarse - self.coarse + self.tick / 2;
                let passed = passed.as_nanos() / self.tick.as_nanos();
                self.ticks = self.ticks.wrapping_add(passed as u32);
                self.coarse = coarse;
                self.began = (now - self.looked < self.tick / 8).then_some(now);
            }
            self.looked = now;
            if self
                .began
                .is_some_and(|began| now - began < self.tick * 3 / 4)
            {
                return Tick(self.ticks);
            }
            std::hint::spin_loop();
        }
    }
}

/// The kernel's own times in a table. Where this thread lost the CPU to another between the look at
/// the clock and the packet, they tell when the packet came.
struct Seen(Array<MapData, [u8; size_of::<Connection>()]>);

impl Seen {
    fn of_table() -> Self {
        Self(pinned("maps/connections"))
    }

    /// When the connections of the table were last seen.
    fn times(&self) -> impl Iterator<Item = u32> {
        let connections = self
            .0
            .iter()
            .map(|entry| -> Connection { zerocopy::transmute!(entry.expect("an entry")) });
        connections
            .filter(|connection| connection.state().is_live())
            .map(|connection| connection.seen)
    }

    /// The time of the last packet that was noted, if it is later than this.
    fn last_after(&self, now: Tick) -> Tick {
        let ahead = self
            .times()
            .map(|seen| seen.wrapping_sub(now.0).cast_signed());
        let ahead = ahead.max().unwrap_or(0).max(0);
        Tick(now.0.wrapping_add(ahead.cast_unsigned()))
    }

    /// Begins a first connection in both homes, and sets the host's clock by the time that the kernel
    /// noted: a port that rests counts whole seconds of the clock.
    fn set_clock(&self, clock: &mut Clock, stage: &Stage, host: &mut HostTables) {
        let key = TcpPacket::key(([198, 51, 100, 9], 40_000), (VIP, 80));
        let mut packet = TcpPacket::new(key, 0x02).bytes();
        clock.early_in_a_tick();
        stage.feed(&packet, &mut Vec::new());
        clock.ticks = self.times().next().expect("the first connection");
        host.now = Tick(clock.ticks);
        host.steer(&mut packet);
    }
}

const DNAT_PORT: u16 = 81;

/// A host with sixteen buckets and one line of source ports, a service that keeps its clients' addresses
/// beside the one by NAT, and of each service one backend at a second interface.
fn small(balance: Balance, pick: Pick) -> (Stage, HostTables) {
    let node = Node {
        interfaces: Interfaces::new(vec!["eth0".into(), "eth1".into()]).expect("two names"),
        ..stage::node()
    };
    let settings = config::Dataplane {
        max_connections: 1,
        source_ports: 10_240..=10_255,
        ..stage::settings()
    };
    let setup = Setup {
        balance,
        services: &[(80, &BACKENDS[..2])],
        max_connections: 1,
        source_addresses: &[],
    };
    let mut stage = Stage::raise_on(&node, &settings, SECOND_INTERFACE, &setup);
    let nat = pool("nat", balance, &BACKENDS[..2]);
    let dnat = pool("dnat", balance, &BACKENDS[2..]);
    let tcp = |forward| Mode::Tcp { forward };
    let services = [
        service("http-80", 80, tcp(Forward::Nat), &nat),
        service("https", 443, Mode::Http, &nat),
        service("http-81", DNAT_PORT, tcp(Forward::Dnat), &dnat),
    ];
    let up = |pool: &Arc<Pool>| {
        let states = vec![BackendState::Up; pool.backends.len()];
        Arc::new(PoolView::new(Arc::clone(pool), states))
    };
    (stage.dataplane)
        .apply(&services, &[up(&nat), up(&dnat)])
        .expect("the maps are filled");
    let mut host = host_tables(&stage, pick);
    let before = host.settings;
    let mut small = HostTables::new(Settings {
        last_bucket: 64 - 4,
        first_line: 640,
        lines: 1,
        ..before
    });
    small.ingress = host.ingress;
    small.default_route = host.default_route;
    small.services = std::mem::take(&mut host.services);
    small.backends = std::mem::take(&mut host.backends);
    small.routes = std::mem::take(&mut host.routes);
    let second = nix::net::if_::if_nametoindex("eth1").expect("eth1");
    small.interfaces.push(second);
    for octet in [BACKENDS[1], BACKENDS[3]] {
        let hop = NextHop {
            destination_mac: SECOND_ROUTER,
            source_mac: SECOND_OWN,
            interface: second,
            neighbour: [172, 30, 0, 3],
        };
        small.routes.insert([10, 0, 0, octet], hop);
    }
    for id in [2, 3].map(BackendId) {
        let backend = small.backends.get_mut(&id).expect("four backends");
        (backend.service, backend.service_port) = (ServiceId(2), DNAT_PORT);
        (backend.dnat, backend.row, backend.rows) = (1, 0, 0);
    }
    let key = ServiceKey {
        address: VIP,
        port: DNAT_PORT,
        protocol: 6,
    };
    let keeps = Service {
        id: ServiceId(2),
        handling: Handling::Dnat as u8,
        pick: pick as u8,
        retries: 3,
        ..Service::default()
    };
    small.services.insert(key, keeps);
    for (service, ids) in [(0, [0, 1]), (2, [2_u16, 3])] {
        let members = ids.map(|id| Member {
            id: BackendId(id),
            identity: ([10, 0, 0, BACKENDS[usize::from(id)]], 80),
            weight: 1,
        });
        small
            .rings
            .insert(ServiceId(service), slots(&members, pick));
    }
    small.rebuild();
    (stage, small)
}

/// A second interface, with the way to the second backend of each service.
const SECOND_INTERFACE: &str = "
    ip link add eth1 address 02:00:00:00:00:69 type veth peer name peer1
    ip link set peer1 up
    ip link set eth1 up
    ip address add 172.30.0.2/24 dev eth1
    ip neighbour add 172.30.0.3 lladdr 02:00:00:00:00:03 dev eth1 nud permanent
    ip route add 10.0.0.7/32 via 172.30.0.3
    ip route add 10.0.0.19/32 via 172.30.0.3
";

fn pool(name: &str, balance: Balance, backends: &[u8]) -> Arc<Pool> {
    let backend = |octet: &u8| config::Backend {
        name: Name::parse(&format!("web{octet}")).expect("a name"),
        address: SocketAddr::from(([10, 0, 0, *octet], 80)),
        weight: Weight::ONE,
        backup: false,
    };
    Arc::new(Pool {
        name: Name::parse(name).expect("a name"),
        balance,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends: backends.iter().map(backend).collect(),
    })
}

fn service(name: &str, port: u16, mode: Mode, pool: &Arc<Pool>) -> config::Service {
    config::Service {
        name: Name::parse(name).expect("a name"),
        listen: SocketAddr::from((VIP, port)),
        mode,
        pool: Some(Arc::clone(pool)),
        routing: Arc::default(),
        timeouts: config::Timeouts::default(),
    }
}

/// The ring of backends of one weight.
fn slots(members: &[Member], pick: Pick) -> Vec<BackendId> {
    let weights = vec![1; members.len()];
    if pick == Pick::RoundRobin {
        Ring::round_robin(members, &weights).slots
    } else {
        Ring::maglev(members, ring::capacity_of(&weights)).slots
    }
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
    for (octet, id) in BACKENDS.into_iter().zip((0..).map(BackendId)) {
        let address = [10, 0, 0, octet];
        let state = BackendState::Up.number();
        let backend = Backend {
            address,
            port: 80,
            service: ServiceId(0),
            state,
            row: id.0,
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
    let key = |port| ServiceKey {
        address: VIP,
        port,
        protocol: 6,
    };
    let nat = Handling::Nat as u8;
    let steered = Service {
        id: ServiceId(0),
        handling: nat,
        pick: pick as u8,
        retries: 3,
        ..Service::default()
    };
    let agents = Service {
        id: ServiceId(1),
        handling: Handling::Agent as u8,
        pick: pick as u8,
        ..Service::default()
    };
    host.services.insert(key(80), steered);
    host.services.insert(key(443), agents);
    host.rings.insert(ServiceId(0), slots(&members, pick));
    host
}

/// Packets of connections that come, talk and go, among packets of every other kind.
struct Traffic {
    random: u64,
    /// Ports of steered services.
    services: &'static [u16],
    /// The last connection of each client: the keys of the client's packets and of the backend's.
    begun: Vec<(FlowKey, FlowKey)>,
    /// What comes next on a connection, last first.
    next: Vec<(FlowKey, u8)>,
    /// Changes that both homes have told of.
    told: usize,
}

/// Clients whose last connection is remembered.
const BEGUN: usize = 4000;

impl Traffic {
    fn new(services: &'static [u16]) -> Self {
        Self {
            random: 2026,
            services,
            begun: Vec::new(),
            next: Vec::new(),
            told: 0,
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let kind = self.below(16);
        if kind == 0 {
            return self.noise();
        }
        if self.next.is_empty() && !self.begun.is_empty() && self.below(64) == 0 {
            // No connection stays for ever: a small table would hold established ones alone.
            let which = self.below(self.begun.len());
            let (client, back) = self.begun[which];
            let ends = [(client, 0x11), (back, 0x11)];
            self.next = Vec::from(ends);
            if self.below(2) == 0 {
                self.next.reverse();
            }
        }
        let (key, flags) = match self.next.pop() {
            Some(next) if self.below(4) > 0 => next,
            _ => (self.key(), self.flags()),
        };
        let mut packet = TcpPacket::new(key, flags);
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
    fn learn(&mut self, verdict: Verdict, packet: &[u8], bytes: &[u8]) {
        let (Verdict::Transmit(how) | Verdict::Redirect(how, _)) = verdict else {
            return;
        };
        let new = [Steered::NewFlow, Steered::Retried].contains(&how);
        let plain = bytes.get(12..14) == Some(&[8, 0]) && bytes.get(14) == Some(&0x45);
        if !new || !plain {
            return;
        }
        let key = |bytes: &[u8]| {
            let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            TcpPacket::key((four(26), port(34)), (four(30), port(36)))
        };
        let (client, back) = (key(packet), key(bytes).reversed());
        let mut known = self.begun.iter_mut();
        if let Some(one) = known.find(|(known, _)| *known == client) {
            one.1 = back;
        } else if self.begun.len() < BEGUN {
            self.begun.push((client, back));
        } else {
            let place = self.below(BEGUN);
            self.begun[place] = (client, back);
        }
        self.next = match self.below(6) {
            // Refused, or not answered.
            0 => vec![(client, 0x02), (back, 0x14)],
            1 => Vec::new(),
            // Opened, and closed by one side or the other, or kept open.
            ending => {
                let mut next = match ending {
                    2 | 3 => vec![(client, 0x11), (back, 0x11)],
                    4 => vec![(back, 0x11), (client, 0x11)],
                    _ => Vec::new(),
                };
                next.extend([(back, 0x10), (client, 0x10), (back, 0x12)]);
                next
            }
        };
    }

    fn key(&mut self) -> FlowKey {
        let client = Ipv4Addr::new(198, 51, 100, 10 + self.below(20) as u8).octets();
        let from = 40_000 + self.below(40) as u16;
        match self.below(8) {
            0 => TcpPacket::key((client, from), (VIP, 443)),
            1 => TcpPacket::key((client, from), (VIP, self.below(65_536) as u16)),
            2 => TcpPacket::key((client, from), ([172, 31, 0, 69], 80)),
            3 | 4 if !self.begun.is_empty() => {
                let which = self.below(self.begun.len());
                self.begun[which].1
            }
            _ => {
                let which = self.below(self.services.len());
                TcpPacket::key((client, from), (VIP, self.services[which]))
            }
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
