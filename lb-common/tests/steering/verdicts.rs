//! Packets that are not steered, and the verdict on each kind of them.

use super::*;

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
