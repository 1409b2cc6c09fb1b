//! Tests of steering: properties that hold for all packets and connections.
#![cfg(feature = "host")]

use lb_common::{
    backend::{Backend, BackendId, BackendState},
    connection::Connection,
    flow::FlowKey,
    hop::NextHop,
    host::{HostTables, TcpPacket, checksum, tcp_checksum},
    ring::{Member, Ring},
    service::{Handling, Pick, Service, ServiceId, ServiceKey},
    settings::Settings,
    tcp::State,
    tick::Tick,
    traffic::TrafficSlot,
    verdict::{COUNTER_SLOTS, DropReason, PassReason, Steered, Verdict},
};

mod conservation;
mod hops;
mod lifetime;
mod pair;
mod random;
mod retries;
mod source_ports;
mod verdicts;

use random::Random;

const VIP: [u8; 4] = [172, 31, 0, 68];
const CLIENT: [u8; 4] = [198, 51, 100, 10];
const HERTZ: u32 = 250;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;
const GATEWAY: NextHop = hop(0x01);
const ROUTER: NextHop = hop(0x02);

const fn hop(last: u8) -> NextHop {
    NextHop {
        destination_mac: [2, 0, 0, 0, 0, last],
        source_mac: [2, 0, 0, 0, 0, 0x68],
        interface: 1,
        neighbour: [172, 31, 0, last],
    }
}

/// Creates the tables of a host with four backends of a service at port 80, and a service at port
/// 443 that the agent serves.
fn tables() -> HostTables {
    tables_of(16_384, 640, 64)
}

/// As [`tables`], but with `entries` entries for connections, and `lines` lines (of sixteen source
/// ports each) that NAT may claim, from the line number `first_line` on.
fn tables_of(entries: u32, first_line: u16, lines: u16) -> HostTables {
    let settings = Settings {
        secret: [0x1b, 0x2026],
        last_bucket: entries - 4,
        generation: 1,
        routes: 1,
        first_line,
        lines,
        lines_before_gap: lines,
        hertz: HERTZ,
        ..Settings::default()
    };
    let mut tables = HostTables::new(settings);
    let service = |port| ServiceKey {
        address: VIP,
        port,
        protocol: 6,
    };
    let members: Vec<Member> = [6, 7, 9, 19]
        .into_iter()
        .zip((0..).map(BackendId))
        .map(|(octet, id)| {
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
            tables.backends.insert(id, backend);
            tables.routes.insert(address, ROUTER);
            Member {
                id,
                identity: (address, 80),
                weight: 1,
            }
        })
        .collect();
    let ring = Ring::round_robin(&members, &[1; 4]);
    let nat = Handling::Nat as u8;
    let steered = Service {
        id: ServiceId(0),
        handling: nat,
        pick: Pick::RoundRobin as u8,
        retries: 3,
        ..Service::default()
    };
    let agents = Service {
        id: ServiceId(1),
        handling: Handling::Agent as u8,
        pick: 1,
        ..Service::default()
    };
    tables.services.insert(service(80), steered);
    tables.services.insert(service(443), agents);
    tables.rings.insert(ServiceId(0), ring.slots);
    tables.default_route = Some(GATEWAY);
    tables.rebuild();
    tables
}

/// Steers a packet and verifies its checksums. Returns the verdict and the packet's bytes
/// afterwards.
fn sent(tables: &HostTables, packet: &TcpPacket) -> (Verdict, Vec<u8>) {
    let mut bytes = packet.bytes();
    let verdict = tables.steer(&mut bytes);
    let network = 14 + 4 * packet.vlans.len();
    let transport = network + 20 + 4 * packet.ip_options;
    let (source, destination) = (four(&bytes, network + 12), four(&bytes, network + 16));
    assert_eq!(checksum(&bytes[network..transport]), 0, "IPv4 checksum");
    assert_eq!(
        tcp_checksum(source, destination, &bytes[transport..]),
        0,
        "TCP checksum"
    );
    (verdict, bytes)
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    bytes[at..at + 4].try_into().expect("four bytes")
}

/// Returns the flow key in the bytes of a packet without VLAN tags and IP options.
fn key(bytes: &[u8]) -> FlowKey {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    TcpPacket::key((four(bytes, 26), port(34)), (four(bytes, 30), port(36)))
}

fn answer(bytes: &[u8]) -> FlowKey {
    let sent = key(bytes);
    TcpPacket::key(
        (sent.destination, sent.destination_port),
        (sent.source, sent.source_port),
    )
}

fn from_client(port: u16) -> FlowKey {
    TcpPacket::key((CLIENT, port), (VIP, 80))
}

/// Opens the connection of the client with this port, and returns the key of the backend's packets.
fn opened(tables: &HostTables, port: u16) -> FlowKey {
    let (verdict, bytes) = sent(tables, &TcpPacket::new(from_client(port), SYN));
    assert_eq!(verdict, Verdict::Transmit(Steered::NewFlow));
    let back = answer(&bytes);
    let (verdict, _) = sent(tables, &TcpPacket::new(back, SYN_ACK));
    assert_eq!(verdict, Verdict::Transmit(Steered::Flow));
    let (verdict, _) = sent(tables, &TcpPacket::new(from_client(port), ACK));
    assert_eq!(verdict, Verdict::Transmit(Steered::Flow));
    back
}

/// Returns the connection of the client with this port.
fn with_port(tables: &HostTables, port: u16) -> Connection {
    let mut all = tables.connections().into_iter();
    all.find(|(_index, connection)| connection.client_port == port)
        .expect("there is one")
        .1
}

/// Returns the only connection in the tables.
fn only(tables: &HostTables) -> Connection {
    let all = tables.connections();
    assert_eq!(all.len(), 1);
    all[0].1
}
