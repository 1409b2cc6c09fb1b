//! Tests of dropping the SYNs of new connections while the active role is handed over, and of
//! importing the peer's connections.

use lb_common::{
    import::{Outcome, Target, import as import_one},
    limits::HOLD_SECONDS,
    record::Record,
};
use proptest::prelude::*;

use super::{
    source_ports::{FURTHER, further_source},
    *,
};

/// Creates an active host that exports its connections, as records for its peer.
fn exporting() -> HostTables {
    let mut tables = tables();
    tables.settings.export = 1;
    tables
}

/// Creates the peer of an active host: its backends have other indices, and its clock differs.
fn peer() -> HostTables {
    let mut tables = tables();
    tables.now = Tick(77_777);
    tables.settings.generation = 9;
    tables.backends = tables
        .backends
        .into_iter()
        .map(|(id, backend)| (BackendId(id.0 + 100), backend))
        .collect();
    for slot in tables.rings.entry(ServiceId(0)).or_default() {
        slot.0 += 100;
    }
    tables.rebuild();
    tables
}

/// Imports the connections of these records as the agent of the standby does.
fn import(tables: &HostTables, records: &[Record]) {
    for record in records {
        let found = tables
            .backends
            .iter()
            .find(|(_id, one)| (one.address, one.port) == (record.backend, record.backend_port));
        let (id, backend) = found.expect("the peer has the same backends");
        let target = Target {
            backend: *id,
            row: backend.row,
            pass: 1,
        };
        let outcome = import_one(&tables, &tables.settings, record, &target, tables.now);
        assert_eq!(outcome, Outcome::Written, "{record:?}");
    }
}

#[test]
fn while_new_connections_are_held_the_others_go_on() {
    let mut tables = tables();
    let back = opened(&tables, 40_000);
    tables.settings.hold = 1;
    tables.settings.held_until = tables.now.0 + HOLD_SECONDS * HERTZ;
    let to = |port, from| TcpPacket::new(TcpPacket::key((CLIENT, from), (VIP, port)), SYN);
    let held = Verdict::Drop(DropReason::Held);
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
    assert_eq!(sent(&tables, &segment).0, Verdict::Pass(PassReason::Agent));
    assert_eq!(
        sent(&tables, &to(81, 50_000)).0,
        Verdict::Pass(PassReason::NotAService),
        "what is not ours is not held"
    );
    tables.now = Tick(tables.settings.held_until);
    assert_eq!(
        sent(&tables, &to(80, 50_000)).0,
        Verdict::Transmit(Steered::NewFlow)
    );
}

#[test]
fn a_connection_has_flow_events_when_it_is_established_and_as_it_ends() {
    let tables = exporting();
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
        .map(|state| Record::of(&with_port(&tables, 40_000), state));
    assert_eq!(tables.take_exported(), expected);
}

#[test]
fn a_connection_that_never_opened_has_no_flow_event() {
    let tables = exporting();
    let (_, bytes) = sent(&tables, &TcpPacket::new(from_client(40_000), SYN));
    sent(&tables, &TcpPacket::new(answer(&bytes), RST));
    assert_eq!(tables.take_exported(), []);
}

#[test]
fn a_connection_through_a_further_source_address_is_marked_for_it_stays_here() {
    let mut tables = exporting();
    further_source(&mut tables);
    let mut seen = [0, 0];
    for port in 1..=100 {
        let back = opened(&tables, port);
        let further = back.destination == FURTHER;
        let told = tables.take_exported();
        let told: Vec<u8> = told.iter().map(|record| record.further_source).collect();
        assert_eq!(told, [u8::from(further)]);
        seen[usize::from(further)] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn without_a_peer_no_flow_event_is_written() {
    let tables = tables();
    opened(&tables, 40_000);
    assert_eq!(tables.take_exported(), []);
}

#[test]
fn the_peer_carries_a_connection_on_to_the_same_backend_by_the_same_port() {
    let (active, standby) = (exporting(), peer());
    let back = opened(&active, 40_000);
    import(&standby, &active.take_exported());
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
    assert_eq!(only(&standby).state, State::ESTABLISHED.0);
}

#[test]
fn the_peer_gives_a_source_port_of_the_active_host_to_nobody_else() {
    let (active, mut standby) = (exporting(), peer());
    for port in 0..200 {
        opened(&active, 40_000 + port);
    }
    import(&standby, &active.take_exported());
    standby.now = Tick(standby.now.0 + 1000 * HERTZ);
    let imported = standby.connections().into_iter();
    let taken: Vec<FlowKey> = imported
        .map(|(_, connection)| connection.to_backend().reversed())
        .collect();
    for port in 0..200 {
        let back = opened(&standby, 50_000 + port);
        assert!(!taken.contains(&back), "{back:?}");
    }
}

#[test]
fn a_connection_without_a_next_hop_waits_for_one_and_is_not_reset() {
    let (active, mut standby) = (exporting(), peer());
    let back = opened(&active, 40_000);
    import(&standby, &active.take_exported());
    let route = standby.default_route.take();
    let segment = TcpPacket::new(back, ACK);
    assert_eq!(
        sent(&standby, &segment).0,
        Verdict::Drop(DropReason::NoRoute)
    );
    standby.default_route = route;
    assert_eq!(sent(&standby, &segment).0, Verdict::Transmit(Steered::Flow));
}

#[test]
fn a_record_takes_the_place_of_whatever_held_its_addresses_and_ports() {
    let (active, standby) = (exporting(), peer());
    let back = opened(&active, 40_000);
    // The standby has stale connections: another client's connection holds the source port, and the
    // client's own connection is at another backend.
    let records = active.take_exported();
    let other = Record {
        client: from_client(50_000),
        ..records[0]
    };
    let elsewhere = Record {
        backend: [10, 0, 0, 9],
        ..records[0]
    };
    import(&standby, &[other, elsewhere, records[0]]);
    assert_eq!(only(&standby).to_backend().reversed(), back);
    assert_eq!(standby.claimed_ports().len(), 1);
    assert_eq!(
        sent(&standby, &TcpPacket::new(from_client(50_000), ACK)).0,
        Verdict::Pass(PassReason::NoFlow)
    );
}

proptest! {
    /// A record contains everything that steering writes for a connection: importing it makes the
    /// same connection.
    #[test]
    fn a_record_makes_the_connection_that_steering_made(source: [u8; 4], port: u16, idle in 0..3000_u16) {
        let active = exporting();
        let client = TcpPacket::key((source, port), (VIP, 80));
        let (_, bytes) = sent(&active, &TcpPacket::new(client, SYN));
        sent(&active, &TcpPacket::new(answer(&bytes), SYN_ACK));
        sent(&active, &TcpPacket::new(client, ACK));
        let told = active.take_exported();
        prop_assert_eq!(told.len(), 1);
        let standby = peer();
        import(&standby, &[Record { idle, ..told[0] }]);
        let (here, there) = (only(&active), only(&standby));
        prop_assert_eq!(here.towards_backend(), there.towards_backend());
        prop_assert_eq!(here.towards_client(), there.towards_client());
        prop_assert_eq!((here.key(), here.state), (there.key(), there.state));
        prop_assert_eq!(there.seen, standby.now.0.wrapping_sub(u32::from(idle) * HERTZ));
    }
}
