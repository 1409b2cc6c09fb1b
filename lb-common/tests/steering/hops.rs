//! Next hops: how changes of routes and neighbours reach connections.

use super::*;

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
