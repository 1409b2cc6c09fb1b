//! What holds for every packet and every connection that is steered.
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
use proptest::prelude::*;

mod conservation;
mod pair;

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

/// Four backends behind :80, and a service of the agent's at :443.
fn tables() -> HostTables {
    tables_of(16_384, 640, 64)
}

/// The same with so many entries for connections and so many lines of source ports, from the first on.
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

/// Steers a packet and checks what holds for each: its checksums stay right.
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

/// The key that a packet without VLAN tags and IP options carries.
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

/// Opens a connection and returns the key of the backend's packets.
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

#[test]
fn a_connection_goes_to_a_backend_and_back_to_the_client() {
    let tables = tables();
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    let there = key(&bytes);
    assert_eq!((there.source, there.destination), (VIP, [10, 0, 0, 6]));
    assert_eq!(there.destination_port, 80);
    assert_eq!(
        (&bytes[..6], &bytes[6..12]),
        (&ROUTER.destination_mac[..], &ROUTER.source_mac[..])
    );
    let (_, bytes) = sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
    assert_eq!(key(&bytes), TcpPacket::key((VIP, 80), (CLIENT, 40_000)));
    assert_eq!(bytes[..6], GATEWAY.destination_mac);
    assert_eq!(bytes[22], 63, "one hop less");
}

#[test]
fn turns_give_each_backend_its_share() {
    let tables = tables();
    for port in 1..=1000 {
        opened(&tables, port);
    }
    for id in (0..4).map(BackendId) {
        assert_eq!(tables.traffic(TrafficSlot::of_backend(id)).connections, 250);
    }
}

#[test]
fn no_two_connections_to_a_backend_share_a_source_port() {
    let tables = tables();
    let mut backs: Vec<FlowKey> = (1..=2000).map(|port| opened(&tables, port)).collect();
    backs.sort_by_key(|key| (key.source, key.destination_port));
    assert!(backs.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(
        backs
            .iter()
            .all(|key| (10_240..11_264).contains(&key.destination_port))
    );
}

/// Leaves sixteen source ports at each backend.
fn one_line(tables: &mut HostTables) {
    tables.settings.lines = 1;
}

/// As many connections as have a source port then, at four backends.
const ONE_LINE: u16 = 64;

#[test]
fn a_port_is_used_again_only_once_its_connection_is_gone() {
    let mut tables = tables();
    one_line(&mut tables);
    for port in 1..=ONE_LINE {
        opened(&tables, port);
    }
    let late = TcpPacket::new(from_client(100), SYN);
    assert_eq!(
        sent(&tables, &late).0,
        Verdict::Drop(DropReason::NoSourcePort)
    );
    tables.now = Tick(tables.now.0 + 2 * 3600 * HERTZ);
    let (verdict, bytes) = sent(&tables, &late);
    assert_eq!(verdict, Verdict::Transmit(Steered::NewFlow));
    let (verdict, bytes) = sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
    assert_eq!(
        (verdict, key(&bytes).destination_port),
        (Verdict::Transmit(Steered::Flow), 100)
    );
    assert_eq!(
        tables.connections().len(),
        usize::from(ONE_LINE),
        "the connection whose port was taken went with it"
    );
}

#[test]
fn connections_that_stay_fill_window_after_window_and_none_is_refused() {
    let tables = tables_of(1 << 19, 64, 4000);
    // Two windows of each backend, and a part of the third.
    for number in 0..80_000_u32 {
        let [_, high, low, port] = number.to_be_bytes();
        let client = TcpPacket::key(([100, 64, high, low], 1024 + u16::from(port)), (VIP, 80));
        let (verdict, bytes) = sent(&tables, &TcpPacket::new(client, SYN));
        assert_eq!(verdict, Verdict::Transmit(Steered::NewFlow), "{number}");
        sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
        sent(&tables, &TcpPacket::new(client, ACK));
    }
}

/// A second address that backends see.
const FURTHER: [u8; 4] = [172, 31, 0, 70];

/// Gives each backend a second row of source ports, for [`FURTHER`].
fn further_source(tables: &mut HostTables) {
    tables.settings.source_addresses[0] = FURTHER;
    for (id, backend) in &mut tables.backends {
        backend.row = id.0 * 2;
        backend.rows = 2;
    }
    tables.rebuild();
}

#[test]
fn a_further_source_address_gives_a_backend_as_many_source_ports_again() {
    let mut tables = tables();
    further_source(&mut tables);
    one_line(&mut tables);
    let answers: Vec<FlowKey> = (1..=2 * ONE_LINE)
        .map(|port| opened(&tables, port))
        .collect();
    for address in [VIP, FURTHER] {
        let through = answers.iter().filter(|key| key.destination == address);
        assert_eq!(through.count(), usize::from(ONE_LINE), "{address:?}");
    }
    let late = TcpPacket::new(from_client(ONE_LINE * 2 + 1), SYN);
    assert_eq!(
        sent(&tables, &late).0,
        Verdict::Drop(DropReason::NoSourcePort)
    );
    for (port, back) in (1..).zip(answers) {
        let (verdict, bytes) = sent(&tables, &TcpPacket::new(back, ACK));
        let expected = TcpPacket::key((VIP, 80), (CLIENT, port));
        assert_eq!(
            (verdict, key(&bytes)),
            (Verdict::Transmit(Steered::Flow), expected)
        );
        let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(port), ACK));
        assert_eq!(
            answer(&bytes),
            back,
            "the client's packets take the same way"
        );
    }
}

#[test]
fn a_busy_client_keeps_the_port_of_a_silent_backend() {
    let mut tables = tables();
    one_line(&mut tables);
    let back = opened(&tables, 1);
    tables.now = Tick(tables.now.0 + 3000 * HERTZ);
    sent(&tables, &TcpPacket::new(from_client(1), ACK));
    tables.now = Tick(tables.now.0 + 3000 * HERTZ);
    for port in 2..=200 {
        let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(port), SYN));
        assert_ne!(answer(&bytes), back);
    }
}

#[test]
fn a_client_may_use_its_port_again_once_the_connection_is_over() {
    let tables = tables();
    let first = opened(&tables, 40_000);
    let ack = TcpPacket::new(from_client(40_000), ACK);
    assert_eq!(
        answer(&sent(&tables, &ack).1),
        first,
        "remembered from here on"
    );
    assert_eq!(answer(&sent(&tables, &ack).1), first);
    sent(&tables, &TcpPacket::new(from_client(40_000), FIN_ACK));
    sent(&tables, &TcpPacket::new(first, FIN_ACK));
    let second = opened(&tables, 40_000);
    assert_ne!(first, second, "the next backend in turn");
    assert_eq!(
        answer(&sent(&tables, &ack).1),
        second,
        "nothing of the first is remembered"
    );
}

#[test]
fn a_repeated_syn_goes_where_the_first_one_went() {
    let tables = tables();
    let syn = TcpPacket::new(from_client(40_000), SYN);
    let (_, first) = sent(&tables, &syn);
    let (verdict, second) = sent(&tables, &syn);
    assert_eq!(
        (verdict, key(&first)),
        (Verdict::Transmit(Steered::Flow), key(&second))
    );
}

/// A SYN that its client sends again, a second later.
fn sent_again(tables: &mut HostTables, port: u16) -> (Verdict, Vec<u8>) {
    tables.now = Tick(tables.now.0 + HERTZ);
    sent(tables, &TcpPacket::new(from_client(port), SYN))
}

#[test]
fn a_syn_that_is_not_answered_goes_to_another_backend_when_it_is_sent_again() {
    let mut tables = tables();
    let mut seen = Vec::new();
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    seen.push(key(&bytes).destination);
    for _ in 0..3 {
        let (verdict, bytes) = sent_again(&mut tables, 40_000);
        assert_eq!(verdict, Verdict::Transmit(Steered::Retried));
        assert_ne!(seen.last(), Some(&key(&bytes).destination));
        seen.push(key(&bytes).destination);
    }
    let (verdict, _) = sent_again(&mut tables, 40_000);
    assert_eq!(
        verdict,
        Verdict::Transmit(Steered::Flow),
        "tried often enough"
    );
    assert_eq!(tables.connections().len(), 1);
    assert_eq!(tables.claimed_ports().len(), 1, "one port, at one backend");
}

#[test]
fn a_refusal_is_kept_back_while_another_backend_may_serve() {
    let tables = tables();
    let syn = TcpPacket::new(from_client(40_000), SYN);
    let (_, mut bytes) = sent(&tables, &syn);
    for _ in 0..3 {
        let refusal = TcpPacket::new(answer(&bytes), RST | ACK);
        assert_eq!(
            sent(&tables, &refusal).0,
            Verdict::Drop(DropReason::Refused)
        );
        let (verdict, again) = sent(&tables, &syn);
        assert_eq!(verdict, Verdict::Transmit(Steered::Retried), "at once");
        bytes = again;
    }
    let (verdict, bytes) = sent(&tables, &TcpPacket::new(answer(&bytes), RST | ACK));
    assert_eq!(
        (verdict, key(&bytes).destination_port),
        (Verdict::Transmit(Steered::Flow), 40_000),
        "none is left: the client hears it"
    );
}

#[test]
fn a_service_without_retries_passes_refusals_on() {
    let mut tables = tables();
    for service in tables.services.values_mut() {
        service.retries = 0;
    }
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    let refusal = TcpPacket::new(answer(&bytes), RST | ACK);
    assert_eq!(sent(&tables, &refusal).0, Verdict::Transmit(Steered::Flow));
    let (verdict, again) = sent_again(&mut tables, 40_000);
    assert_eq!(
        (verdict, key(&again)),
        (Verdict::Transmit(Steered::Flow), key(&bytes))
    );
}

#[test]
fn an_unanswered_syn_goes_elsewhere_when_its_backend_goes_down() {
    let mut tables = tables();
    let syn = TcpPacket::new(from_client(40_000), SYN);
    let (_, first) = sent(&tables, &syn);
    for service in tables.services.values_mut() {
        service.retries = 0;
    }
    tables
        .backends
        .get_mut(&BackendId(0))
        .expect("the first in turn")
        .state = BackendState::Down.number();
    let (verdict, second) = sent_again(&mut tables, 40_000);
    assert_eq!(verdict, Verdict::Transmit(Steered::Retried));
    assert_ne!(key(&first).destination, key(&second).destination);
}

#[test]
fn a_late_answer_of_the_old_backend_does_not_touch_the_new_connection() {
    let mut tables = tables();
    let (_, first) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    let (_, second) = sent_again(&mut tables, 40_000);
    assert_ne!(key(&first).destination, key(&second).destination);
    for flags in [SYN_ACK, RST | ACK] {
        let late = TcpPacket::new(answer(&first), flags);
        assert_eq!(sent(&tables, &late).0, Verdict::Pass(PassReason::NoFlow));
    }
    assert_eq!(only(&tables).state, State::OPENING.0);
}

/// The connection of the client with this port.
fn with_port(tables: &HostTables, port: u16) -> Connection {
    let mut all = tables.connections().into_iter();
    all.find(|(_index, connection)| connection.client_port == port)
        .expect("there is one")
        .1
}

/// The only connection.
fn only(tables: &HostTables) -> Connection {
    let all = tables.connections();
    assert_eq!(all.len(), 1);
    all[0].1
}

#[test]
fn two_forged_packets_do_not_end_a_connection() {
    let mut tables = tables();
    let back = opened(&tables, 40_000);
    let rounds = [
        (from_client(40_000), back, 1..=500),
        (back, from_client(40_000), 501..=1000),
    ];
    for (forger, other, others) in rounds {
        let mut reset = TcpPacket::new(forger, RST);
        reset.sequence = 0xdead_beef;
        sent(&tables, &reset);
        tables.now = Tick(tables.now.0 + 15 * HERTZ);
        let (_, syn) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
        assert_eq!(answer(&syn), back, "the SYN goes along the old mapping");
        for port in others {
            assert_ne!(opened(&tables, port), back, "nobody gets the port");
        }
        assert_eq!(
            sent(&tables, &TcpPacket::new(other, ACK)).0,
            Verdict::Transmit(Steered::Flow)
        );
        let state = with_port(&tables, 40_000).state;
        assert_eq!(state, State::ESTABLISHED.0);
    }
}

#[test]
fn a_port_in_time_wait_goes_to_a_client_with_newer_numbers_alone() {
    let mut tables = tables();
    one_line(&mut tables);
    let end = |key, timestamp| TcpPacket {
        timestamp: Some(timestamp),
        sequence: 5000,
        ..TcpPacket::new(key, FIN_ACK)
    };
    for port in 1..=ONE_LINE {
        let back = opened(&tables, port);
        sent(&tables, &end(back, 7));
        sent(&tables, &end(from_client(port), 1000));
    }
    let syn = |port, timestamp, sequence| TcpPacket {
        timestamp: Some(timestamp),
        sequence,
        ..TcpPacket::new(from_client(port), SYN)
    };
    tables.now = Tick(tables.now.0 + 2 * HERTZ);
    let refused = Verdict::Drop(DropReason::NoSourcePort);
    assert_eq!(sent(&tables, &syn(110, 999, 9000)).0, refused, "older");
    assert_eq!(sent(&tables, &syn(111, 1000, 5001)).0, refused, "the same");
    let taken = Verdict::Transmit(Steered::NewFlow);
    assert_eq!(sent(&tables, &syn(112, 1001, 1)).0, taken, "newer");
    assert_eq!(sent(&tables, &syn(113, 1000, 5002)).0, taken, "ahead");
}

#[test]
fn a_client_that_uses_its_port_again_gets_the_next_backend_and_another_port() {
    let tables = tables();
    let first = opened(&tables, 40_000);
    sent(&tables, &TcpPacket::new(first, FIN_ACK));
    sent(&tables, &TcpPacket::new(from_client(40_000), FIN_ACK));
    let second = opened(&tables, 40_000);
    assert_ne!(second.source, first.source, "the next in turn");
    assert_eq!(
        sent(&tables, &TcpPacket::new(first, FIN_ACK)).0,
        Verdict::Pass(PassReason::NoFlow),
        "the old connection has no client any more"
    );
    assert_eq!(tables.claimed_ports().len(), 1);
}

#[test]
fn a_port_that_its_backend_holds_in_time_wait_rests_however_often_its_client_comes_again() {
    let mut tables = tables();
    one_line(&mut tables);
    let close = |back, number| {
        let end = |key| TcpPacket {
            timestamp: Some(1_000_000),
            ..TcpPacket::new(key, FIN_ACK)
        };
        sent(&tables, &end(back));
        sent(&tables, &end(from_client(number)));
    };
    // One client's port, again and again: one entry, and each time another port.
    for _connection in 0..ONE_LINE {
        let back = opened(&tables, 40_000);
        close(back, 40_000);
    }
    assert_eq!(tables.connections().len(), 1);
    let syn = |port, timestamp| TcpPacket {
        timestamp: Some(timestamp),
        ..TcpPacket::new(from_client(port), SYN)
    };
    let refused = Verdict::Drop(DropReason::NoSourcePort);
    let taken = Verdict::Transmit(Steered::NewFlow);
    assert_eq!(sent(&tables, &syn(50_001, 999_000)).0, refused, "older");
    let newer = syn(50_002, 1_001_000);
    assert_eq!(sent(&tables, &newer).0, refused, "at once");
    tables.now = Tick(tables.now.0 + 2 * HERTZ);
    assert_eq!(sent(&tables, &newer).0, taken, "newer");
    tables.now = Tick(tables.now.0 + 61 * HERTZ);
    assert_eq!(sent(&tables, &syn(50_003, 999_000)).0, taken, "a minute on");
}

#[test]
fn a_backend_lingers_whose_fin_crossed_the_client_s_or_may_have_been_sent_again() {
    let mut tables = tables();
    let state = |tables: &HostTables, port| {
        let connections = tables.connections();
        let found = (connections.iter()).find(|(_, connection)| connection.client_port == port);
        found.map(|(_, connection)| connection.state())
    };
    for (port, acknowledges, after, expected) in [
        (40_001, 5001, 0, State::CLOSED),
        (40_002, 5000, 0, State::LINGERING),
        (40_003, 5001, HERTZ / 5, State::LINGERING),
    ] {
        let back = opened(&tables, port);
        let from_client = TcpPacket {
            sequence: 5000,
            ..TcpPacket::new(from_client(port), FIN_ACK)
        };
        sent(&tables, &from_client);
        tables.now = Tick(tables.now.0 + after);
        let from_backend = TcpPacket {
            acknowledgement: acknowledges,
            ..TcpPacket::new(back, FIN_ACK)
        };
        sent(&tables, &from_backend);
        assert_eq!(state(&tables, port), Some(expected), "{port}");
    }
}

#[test]
fn a_flood_costs_no_route_look_up_and_no_established_connection() {
    let mut tables = tables();
    let kept: Vec<FlowKey> = (1..=1000).map(|port| opened(&tables, port)).collect();
    let lookups = tables.route_lookups();
    for number in 0..100_000_u32 {
        if number.is_multiple_of(1000) {
            tables.now = Tick(tables.now.0 + HERTZ / 5);
        }
        let [_, a, b, c] = number.to_be_bytes();
        let key = TcpPacket::key(([100, a, b, c], 1024), (VIP, 80));
        let (verdict, _) = sent(&tables, &TcpPacket::new(key, SYN));
        assert!(
            matches!(
                verdict,
                Verdict::Transmit(Steered::NewFlow)
                    | Verdict::Drop(DropReason::TableFull | DropReason::NoSourcePort)
            ),
            "{verdict:?}"
        );
    }
    assert_eq!(tables.route_lookups(), lookups);
    for (port, back) in (1..=1000).zip(kept) {
        let (verdict, bytes) = sent(&tables, &TcpPacket::new(from_client(port), ACK));
        assert_eq!(
            (verdict, answer(&bytes)),
            (Verdict::Transmit(Steered::Flow), back)
        );
        assert_eq!(
            key(&sent(&tables, &TcpPacket::new(back, ACK)).1).destination_port,
            port
        );
    }
}

#[test]
fn a_connection_that_the_client_closed_lends_its_port_after_two_seconds_and_not_before() {
    let mut tables = tables();
    one_line(&mut tables);
    let backs: Vec<FlowKey> = (1..=ONE_LINE).map(|port| opened(&tables, port)).collect();
    for (port, back) in (1..=ONE_LINE).zip(&backs) {
        sent(&tables, &TcpPacket::new(from_client(port), FIN_ACK));
        sent(&tables, &TcpPacket::new(*back, FIN_ACK));
    }
    let late = TcpPacket::new(from_client(100), SYN);
    assert_eq!(
        sent(&tables, &late).0,
        Verdict::Drop(DropReason::NoSourcePort)
    );
    let (verdict, _) = sent(&tables, &TcpPacket::new(backs[1], FIN_ACK));
    assert_eq!(verdict, Verdict::Transmit(Steered::Flow), "sent once more");
    tables.now = Tick(tables.now.0 + 3 * HERTZ);
    assert_eq!(sent(&tables, &late).0, Verdict::Transmit(Steered::NewFlow));
}

#[test]
fn established_flows_go_on_when_their_backend_drains_or_goes_down() {
    for state in [BackendState::Draining, BackendState::Down] {
        let mut tables = tables();
        let back = opened(&tables, 40_000);
        tables
            .backends
            .get_mut(&BackendId(0))
            .expect("the first in turn")
            .state = state.number();
        tables.settings.generation += 1;
        let (verdict, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), ACK));
        assert_eq!(
            (verdict, answer(&bytes)),
            (Verdict::Transmit(Steered::Flow), back)
        );
    }
}

#[test]
fn a_neighbour_that_changes_is_looked_up_once_for_all_its_connections() {
    let mut tables = tables();
    for port in 1..=1000 {
        opened(&tables, port);
    }
    let moved = hop(0x77);
    for last in [6, 7, 9, 19] {
        tables.routes.insert([10, 0, 0, last], moved);
    }
    let ack = |port| TcpPacket::new(from_client(port), ACK);
    assert_eq!(
        sent(&tables, &ack(1)).1[..6],
        ROUTER.destination_mac,
        "kept"
    );
    let before = tables.route_lookups();
    tables.settings.generation += 1;
    for port in 1..=1000 {
        assert_eq!(sent(&tables, &ack(port)).1[..6], moved.destination_mac);
    }
    assert_eq!(tables.route_lookups() - before, 4, "one for each backend");
}

#[test]
fn a_route_that_changes_is_looked_up_by_each_connection() {
    let mut tables = tables();
    let back = opened(&tables, 40_000);
    tables.default_route = Some(hop(0x78));
    let answer = TcpPacket::new(back, ACK);
    assert_eq!(sent(&tables, &answer).1[..6], GATEWAY.destination_mac);
    tables.settings.generation += 1;
    tables.settings.routes += 1;
    assert_eq!(sent(&tables, &answer).1[..6], hop(0x78).destination_mac);
}

#[test]
fn what_would_leave_by_an_interface_without_the_program_is_dropped_and_counted() {
    let mut tables = tables();
    let elsewhere = NextHop {
        interface: 9,
        ..ROUTER
    };
    for last in [6, 7, 9, 19] {
        tables.routes.insert([10, 0, 0, last], elsewhere);
    }
    let syn = TcpPacket::new(from_client(1), SYN);
    assert_eq!(
        sent(&tables, &syn).0,
        Verdict::Drop(DropReason::NoInterface)
    );
    tables.interfaces.push(9);
    let (verdict, _) = sent(&tables, &TcpPacket::new(from_client(2), SYN));
    assert_eq!(verdict, Verdict::Redirect(Steered::NewFlow, 9));
}

#[test]
fn without_a_route_to_the_client_the_answer_goes_the_way_the_packet_came() {
    let mut tables = tables();
    tables.default_route = None;
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    let (_, bytes) = sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
    assert_eq!(
        bytes[..6],
        [2, 0, 0, 0, 0, 0x01],
        "the sender of the client's packet"
    );
}

#[test]
fn each_reason_not_to_steer_has_its_verdict() {
    let mut tables = tables();
    let to = |port, flags| TcpPacket::new(TcpPacket::key((CLIENT, 1), (VIP, port)), flags);
    assert_eq!(
        sent(&tables, &to(81, SYN)).0,
        Verdict::Pass(PassReason::NotAService)
    );
    assert_eq!(
        sent(&tables, &to(443, SYN)).0,
        Verdict::Pass(PassReason::Agent)
    );
    assert_eq!(
        sent(&tables, &to(80, ACK)).0,
        Verdict::Pass(PassReason::NoFlow)
    );
    assert_eq!(
        sent(&tables, &to(80, RST)).0,
        Verdict::Pass(PassReason::NoFlow)
    );
    let mut dying = to(80, SYN);
    dying.ttl = 1;
    assert_eq!(
        sent(&tables, &dying).0,
        Verdict::Drop(DropReason::TtlExpired)
    );
    assert!(
        tables.connections().is_empty(),
        "a packet that goes nowhere begins no connection"
    );
    tables.routes.clear();
    tables.default_route = None;
    assert_eq!(
        sent(&tables, &to(80, SYN)).0,
        Verdict::Drop(DropReason::NoRoute)
    );
    assert!(tables.connections().is_empty() && tables.claimed_ports().is_empty());
    tables.rings.insert(ServiceId(0), Vec::new());
    assert_eq!(
        sent(&tables, &to(80, SYN)).0,
        Verdict::Pass(PassReason::NoBackend)
    );
}

#[test]
fn a_packet_for_the_agent_is_counted_and_left_as_it_was() {
    let tables = tables();
    let packet = TcpPacket::new(TcpPacket::key((CLIENT, 1), (VIP, 443)), SYN);
    let (_, bytes) = sent(&tables, &packet);
    assert_eq!(bytes, packet.bytes());
    let counted = tables.traffic(TrafficSlot::of_service(ServiceId(1)));
    assert_eq!(
        (counted.packets_in, counted.bytes_in, counted.connections),
        (1, 40, 1)
    );
}

#[test]
fn malformed_headers_have_a_verdict_of_their_own() {
    let tables = tables();
    let whole = TcpPacket::new(from_client(1), SYN).bytes();
    let with = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        tables.steer(&mut bytes)
    };
    assert_eq!(
        with(14, 0x44),
        Verdict::Drop(DropReason::BadIpv4),
        "header shorter than a header"
    );
    assert_eq!(
        with(14, 0x65),
        Verdict::Drop(DropReason::BadIpv4),
        "another version"
    );
    assert_eq!(
        with(17, 0xff),
        Verdict::Drop(DropReason::BadIpv4),
        "longer than the frame"
    );
    assert_eq!(
        with(17, 19),
        Verdict::Drop(DropReason::BadIpv4),
        "shorter than its header"
    );
    assert_eq!(
        with(46, 0x40),
        Verdict::Drop(DropReason::BadTcp),
        "header shorter than a header"
    );
    assert_eq!(
        with(46, 0x60),
        Verdict::Drop(DropReason::BadTcp),
        "header longer than the segment"
    );
    assert_eq!(
        with(20, 0x20),
        Verdict::Pass(PassReason::Fragment),
        "more fragments"
    );
    assert_eq!(with(23, 17), Verdict::Pass(PassReason::NotTcp));
    assert_eq!(with(12, 0x86), Verdict::Pass(PassReason::NotIp));
}

fn any_packet() -> impl Strategy<Value = TcpPacket> {
    (
        (
            any::<[u8; 4]>(),
            any::<u16>(),
            prop_oneof![Just(80), Just(443), any::<u16>()],
        ),
        any::<u8>(),
        any::<u8>(),
        prop::collection::vec(0..4096_u16, 0..=1),
        (0..=10_usize, 0..=10_usize),
        prop::collection::vec(any::<u8>(), 0..100),
    )
        .prop_map(
            |((source, from, to), flags, ttl, vlans, (ip_options, tcp_options), payload)| {
                let key = TcpPacket::key((source, from), (VIP, to));
                TcpPacket {
                    ttl,
                    vlans,
                    ip_options,
                    tcp_options,
                    payload,
                    ..TcpPacket::new(key, flags)
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_steered_keeps_right_checksums_and_its_payload(packet in any_packet()) {
        let tables = tables();
        let (verdict, bytes) = sent(&tables, &packet);
        prop_assert!(bytes.ends_with(&packet.payload));
        let steered = matches!(verdict, Verdict::Transmit(_) | Verdict::Redirect(..));
        prop_assert_eq!(bytes != packet.bytes(), steered, "only what is steered is changed");
        prop_assert_eq!(tables.counted(verdict), 1);
        prop_assert_eq!(tables.counted_total(), 1);
    }

    #[test]
    fn every_prefix_of_a_packet_has_a_verdict(packet in any_packet(), keep in any::<prop::sample::Index>()) {
        let tables = tables();
        let mut bytes = packet.bytes();
        bytes.truncate(keep.index(bytes.len()));
        let before = bytes.clone();
        let verdict = tables.steer(&mut bytes);
        let tagged = !packet.vlans.is_empty() && before.len() >= 14;
        let expected = if tagged {
            verdict == Verdict::Pass(PassReason::Vlan)
        } else {
            matches!(verdict, Verdict::Drop(DropReason::Truncated | DropReason::BadIpv4))
        };
        prop_assert!(expected, "{:?}", verdict);
        prop_assert_eq!(bytes, before);
    }
}

#[test]
fn a_million_random_packets_each_end_in_one_verdict() {
    let tables = tables();
    let template = TcpPacket::new(from_client(1), SYN).bytes();
    let mut random = Random(0x1b_2026);
    let mut expected = vec![0; COUNTER_SLOTS as usize];
    for number in 0..1_000_000_u32 {
        let mut bytes = if number % 2 == 0 {
            mutated(&template, &mut random)
        } else {
            noise(&mut random)
        };
        let verdict = tables.steer(&mut bytes);
        expected[verdict.counter() as usize] += 1;
    }
    let counted: Vec<u64> = (0..COUNTER_SLOTS)
        .map(|index| tables.counted_at(index))
        .collect();
    assert_eq!(counted, expected);
    assert!(
        tables.counted(Verdict::Transmit(Steered::NewFlow)) > 0,
        "some were good"
    );
}

/// A good packet with a few bytes changed, and sometimes cut.
fn mutated(template: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.byte();
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.below(100);
    (0..length).map(|_| random.byte()).collect()
}

/// SplitMix64: the same packets in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.next() >> 16) as usize % limit
        }
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }
}
