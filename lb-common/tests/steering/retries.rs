//! Retries: a connection is opened again at another backend.

use super::*;

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

/// Steers the SYN that a client retransmits after a second. Returns the verdict and the packet's
/// bytes.
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
