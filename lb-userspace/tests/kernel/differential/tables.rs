//! Tables in the memory of the test that have the same contents as the kernel's maps.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lb::{
    config::{self, Balance, Forward, Interfaces, Mode, Name, Node, Pool, Weight, WhenAllDown},
    pool::PoolView,
};
use lb_common::{
    backend::{Backend, BackendId, BackendState},
    hop::NextHop,
    host::HostTables,
    ring::{self, Member, Ring},
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
    settings::Settings,
};

use crate::stage::{self, BACKENDS, SOURCE_PORTS, Setup, Stage, VIP};

/// MAC address of the gateway that leads to clients.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0x01];

/// MAC address of the router that leads to backends.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x02];

/// MAC address of the router at the load balancer's second interface.
const SECOND_ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0x03];

/// MAC address of the load balancer's first interface.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x68];

/// MAC address of the load balancer's second interface.
const SECOND_OWN: [u8; 6] = [2, 0, 0, 0, 0, 0x69];

/// Number of entries of the connection table: few, because all of them are read regularly (see
/// `Seen`).
pub(super) const ENTRIES: u32 = 4096;

pub(super) const DNAT_PORT: u16 = 81;

/// Creates a test stage (a network namespace with the XDP program) for a small host, and the tables
/// in the memory of the test that have the same contents as the kernel's maps. The host has sixteen
/// buckets of connections, one line (sixteen) of source ports for each backend, a service with DNAT
/// beside the one with NAT, and one backend of each service at a second interface.
pub(super) fn small(balance: Balance, pick: Pick) -> (Stage, HostTables) {
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

/// Commands that add a second interface, with routes to the second backend of each service.
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
        leaving: false,
    };
    Arc::new(Pool {
        name: Name::parse(name).expect("a name"),
        balance,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends: backends.iter().map(backend).collect(),
        discover: None,
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

/// Returns the slots of a pool's ring, by which new flows find a backend; all backends have weight
/// 1.
fn slots(members: &[Member], pick: Pick) -> Vec<BackendId> {
    let weights = vec![1; members.len()];
    if pick == Pick::RoundRobin {
        Ring::round_robin(members, &weights).slots
    } else {
        Ring::maglev(members, ring::capacity_of(&weights)).slots
    }
}

fn hertz() -> u32 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC_COARSE;
    let tick = nix::time::clock_getres(clock).expect("the clock's resolution");
    (1_000_000_000 / Duration::from(tick).as_nanos()) as u32
}

/// Creates the tables in the memory of the test, with the same contents as the kernel's maps.
pub(super) fn host_tables(stage: &Stage, pick: Pick) -> HostTables {
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
