//! The life of a connection: how it opens and ends, and what happens to it when its backend goes
//! down.

use super::*;

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
            assert_ne!(
                opened(&tables, port),
                back,
                "no other connection gets the port"
            );
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
