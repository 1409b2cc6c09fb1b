//! Source ports of NAT: how connections claim and release them, and what happens when they run out.

use super::*;

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

/// Reduces NAT to one line of sixteen source ports at each backend.
fn one_line(tables: &mut HostTables) {
    tables.settings.lines = 1;
}

/// Number of connections that find a source port at the four backends after [`one_line`].
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
    // 80,000 connections fill two windows (of 8,192 ports each) of the source ports at each of the
    // four backends, and a part of the third.
    for number in 0..80_000_u32 {
        let [_, high, low, port] = number.to_be_bytes();
        let client = TcpPacket::key(([100, 64, high, low], 1024 + u16::from(port)), (VIP, 80));
        let (verdict, bytes) = sent(&tables, &TcpPacket::new(client, SYN));
        assert_eq!(verdict, Verdict::Transmit(Steered::NewFlow), "{number}");
        sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
        sent(&tables, &TcpPacket::new(client, ACK));
    }
}

/// An additional source address that backends see, besides the service's own.
pub(super) const FURTHER: [u8; 4] = [172, 31, 0, 70];

/// Gives each backend a second row of the map `source_ports`, with the source ports of the
/// connections from the address [`FURTHER`].
pub(super) fn further_source(tables: &mut HostTables) {
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
    // The client opens connections from the same port repeatedly: all use one entry of the table,
    // and each has another source port.
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
