//! What holds while a host hands over, and for the connections that its peer carries on.

use lb_common::{
    flow::{FROM_PEER, Flow},
    limits::HOLD_SECONDS,
    record::Record,
};

use lb_common::tables::Tables as _;

use super::*;

/// A host that tells of its connections.
fn telling() -> HostTables {
    let mut tables = tables();
    tables.settings.sync = 1;
    tables
}

/// The peer: its backends have other numbers, and its clock shows another time.
fn peer() -> HostTables {
    let mut tables = tables();
    tables.now = Tick(77_777);
    tables.settings.generation = 9;
    tables.backends = tables
        .backends
        .into_iter()
        .map(|(id, backend)| (id + 100, backend))
        .collect();
    for slot in tables.rings.entry(0).or_default() {
        *slot += 100;
    }
    tables
}

/// Puts connections into the flow table as the agent of the standby does.
fn import(tables: &HostTables, records: &[Record]) {
    for record in records {
        let found = tables
            .backends
            .iter()
            .find(|(_id, one)| (one.address, one.port) == (record.backend, record.backend_port));
        let (id, _backend) = found.expect("the peer has the same backends");
        let id = u16::try_from(*id).expect("a backend's number");
        for (key, flow) in record.flows(id, 1, tables.now, HERTZ) {
            tables.put_flow(&key, &flow).expect("room");
        }
    }
}

#[test]
fn while_new_connections_are_held_the_others_go_on() {
    let mut tables = tables();
    let back = opened(&tables, 40_000);
    tables.settings.hold = 1;
    tables.settings.held_until = tables.now.0 + HOLD_SECONDS * HERTZ;
    let to = |port, from| TcpPacket::new(TcpPacket::key((CLIENT, from), (VIP, port)), SYN);
    let held = Verdict::Drop(Drop::Held);
    for port in [80, 443] {
        let (verdict, bytes) = sent(&tables, &to(port, 50_000));
        assert_eq!((verdict, bytes), (held, to(port, 50_000).bytes()));
    }
    assert_eq!(tables.counted(held), 2);
    let known = [
        TcpPacket::new(from_client(40_000), ACK),
        TcpPacket::new(back, ACK),
    ];
    for packet in known {
        assert_eq!(sent(&tables, &packet).0, Verdict::Transmit(Steered::Flow));
    }
    let mut segment = to(443, 50_000);
    segment.flags = ACK;
    assert_eq!(sent(&tables, &segment).0, Verdict::Pass(Pass::Agent));
    assert_eq!(
        sent(&tables, &to(81, 50_000)).0,
        Verdict::Pass(Pass::NotAService),
        "what is not ours is not held"
    );
    tables.now = Tick(tables.settings.held_until);
    assert_eq!(
        sent(&tables, &to(80, 50_000)).0,
        Verdict::Transmit(Steered::NewFlow)
    );
}

#[test]
fn a_connection_is_told_of_when_it_is_established_and_as_it_ends() {
    let tables = telling();
    sent(&tables, &TcpPacket::new(from_client(50_000), SYN));
    let back = opened(&tables, 40_000);
    let ends = [
        (from_client(40_000), FIN_ACK),
        (back, ACK),
        (back, FIN_ACK),
        (from_client(40_000), ACK),
    ];
    for (key, flags) in ends {
        sent(&tables, &TcpPacket::new(key, flags));
    }
    let expected = [State::ESTABLISHED, State::CLOSING_BY_CLIENT, State::CLOSED]
        .map(|state| Record::of(&from_client(40_000), &back, state));
    assert_eq!(tables.told(), expected);
}

#[test]
fn a_connection_that_never_opened_is_not_told_of() {
    let tables = telling();
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    sent(&tables, &TcpPacket::new(answer(&bytes), RST));
    assert_eq!(tables.told(), []);
}

#[test]
fn nothing_is_told_where_nobody_listens() {
    let tables = tables();
    opened(&tables, 40_000);
    assert_eq!(tables.told(), []);
}

#[test]
fn the_peer_carries_a_connection_on_to_the_same_backend_by_the_same_port() {
    let (active, standby) = (telling(), peer());
    let back = opened(&active, 40_000);
    import(&standby, &active.told());
    let data = |key| TcpPacket {
        payload: b"both ways".to_vec(),
        ..TcpPacket::new(key, ACK)
    };
    for packet in [
        data(from_client(40_000)),
        data(back),
        data(from_client(40_000)),
    ] {
        assert_eq!(sent(&standby, &packet), sent(&active, &packet));
    }
    let states: Vec<u8> = standby.flows().iter().map(|(_, flow)| flow.state).collect();
    assert_eq!(states, [State::ESTABLISHED.0; 2]);
}

#[test]
fn the_peer_gives_a_source_port_of_the_active_host_to_nobody_else() {
    let (active, mut standby) = (telling(), peer());
    for port in 0..200 {
        opened(&active, 40_000 + port);
    }
    import(&standby, &active.told());
    standby.now = Tick(standby.now.0 + 1000 * HERTZ);
    let taken: Vec<FlowKey> = standby.flows().iter().map(|(key, _)| *key).collect();
    for port in 0..200 {
        let back = opened(&standby, 50_000 + port);
        assert!(!taken.contains(&back), "{back:?}");
    }
}

#[test]
fn a_connection_without_a_next_hop_waits_for_one_and_is_not_reset() {
    let (active, mut standby) = (telling(), peer());
    let back = opened(&active, 40_000);
    import(&standby, &active.told());
    let route = standby.default_route.take();
    let segment = TcpPacket::new(back, ACK);
    assert_eq!(sent(&standby, &segment).0, Verdict::Drop(Drop::NoRoute));
    standby.default_route = route;
    assert_eq!(sent(&standby, &segment).0, Verdict::Transmit(Steered::Flow));
}

#[test]
fn the_client_s_first_packet_shows_the_peer_the_way_back() {
    let (active, mut standby) = (telling(), peer());
    let back = opened(&active, 40_000);
    import(&standby, &active.told());
    standby.default_route = None;
    sent(&standby, &TcpPacket::new(from_client(40_000), ACK));
    let (verdict, bytes) = sent(&standby, &TcpPacket::new(back, ACK));
    assert_eq!(verdict, Verdict::Transmit(Steered::Flow));
    assert_eq!(
        bytes[..6],
        [2, 0, 0, 0, 0, 0x01],
        "the sender of the client's packet"
    );
}

#[test]
fn what_was_idle_at_the_active_host_is_gone_when_it_would_have_been_there() {
    let (active, mut standby) = (telling(), peer());
    opened(&active, 40_000);
    let records: Vec<Record> = active
        .told()
        .into_iter()
        .map(|record| Record {
            idle: 3000,
            ..record
        })
        .collect();
    import(&standby, &records);
    let segment = TcpPacket::new(from_client(40_000), ACK);
    standby.now = Tick(standby.now.0 + 601 * HERTZ);
    assert_eq!(sent(&standby, &segment).0, Verdict::Pass(Pass::NoFlow));
}

proptest! {
    /// Whatever steering writes for a connection, the record says in full.
    #[test]
    fn a_record_makes_the_flows_that_steering_made(source: [u8; 4], port: u16, idle in 0..5000_u32) {
        let mut tables = telling();
        let client = TcpPacket::key((source, port), (VIP, 80));
        let (_, bytes) = sent(&tables, &TcpPacket::new(client, SYN));
        sent(&tables, &TcpPacket::new(answer(&bytes), SYN_ACK));
        sent(&tables, &TcpPacket::new(client, ACK));
        let told = tables.told();
        prop_assert_eq!(told.len(), 1);

        let written = tables.flows();
        let entry = |key: &FlowKey| written.iter().find(|(one, _)| one == key).copied();
        let (_, flow) = entry(&client).expect("it was opened");
        prop_assert_eq!(Record::of_flow(&client, &flow, 0), told[0]);
        tables.now = Tick(tables.now.0 + idle * HERTZ);
        let record = Record { idle: u16::try_from(idle).expect("below"), ..told[0] };
        for (key, made) in record.flows(flow.backend, 5, tables.now, HERTZ) {
            let (_, steered) = entry(&key).expect("both are there");
            let unknown = NextHop {
                destination_mac: Mac::new([0; 6]),
                source_mac: Mac::new([0; 6]),
                interface: 0,
            };
            let mut expected = Flow { seen: made.seen, ..steered };
            expected.goes_by(&unknown, FROM_PEER | 5);
            prop_assert_eq!(made, expected);
            prop_assert_eq!(made.seen, steered.seen);
        }
    }
}
