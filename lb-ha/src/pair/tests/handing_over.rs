//! Tests of handing over to the peer, and of asking the peer to hand over.

use super::*;

#[test]
fn a_hand_over_ends_requests_then_gives_the_role_then_serves_again() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    assert!(bench.did(Action::Hold(true)));
    assert_eq!(bench.state(), State::Master);
    bench.pass(1000);
    bench.happen(Event::Quiet);
    let said = bench
        .actions
        .iter()
        .position(|a| *a == Action::Send(PairMessage::TakeOver));
    let goodbye = bench.actions.iter().position(|a| {
        *a == Action::Advert {
            priority: 0,
            interval: INTERVAL,
        }
    });
    assert!(said.expect("offers") < goodbye.expect("says goodbye"));
    assert!(bench.did(Action::Became(State::Backup, Cause::HandOver)));
    assert_eq!(bench.outcomes(), []);
    bench.peer = Some(Heartbeat {
        has_address: false,
        ..master(90)
    });
    bench.pass(1000);
    assert!(
        !bench.did(Action::Hold(false)),
        "it has not got the address"
    );
    bench.peer = Some(master(90));
    bench.pass(900);
    assert!(
        !bench.did(Action::Hold(false)),
        "packets still come here when the API has said that they do not"
    );
    bench.pass(300);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Ok(())]);
}

#[test]
fn a_hand_over_does_not_wait_for_requests_longer_than_they_may_take() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.pass(4999);
    assert_eq!(bench.state(), State::Master);
    bench.pass(1);
    assert_eq!(bench.state(), State::Backup);
}

#[test]
fn a_host_that_was_told_to_hand_over_does_not_ask_for_the_role_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.peer = Some(master(90));
    bench.pass(3_600_000);
    assert!(!bench.did(Action::Send(PairMessage::Ask)));
    assert_eq!(bench.state(), State::Backup);
    // With the peer lost, the host becomes active itself; only after that may it ask the peer for
    // the role again.
    bench.cut();
    bench.pass(1000);
    assert_eq!(bench.state(), State::Master);
    bench.peer = Some(master(120));
    bench.next_beat = bench.now;
    bench.pass(500);
    bench.peer = Some(master(90));
    bench.pass(500);
    assert!(bench.did(Action::Send(PairMessage::Ask)));
}

#[test]
fn what_cannot_be_handed_over_is_refused_with_the_reason() {
    let order = Event::HandOver(Reason::Operator);
    let refusal = |bench: &mut Bench| {
        bench.happen(order);
        assert!(!bench.did(Action::Hold(true)));
        bench.outcomes()
    };
    let mut standby_host = Bench::standby(settings(), master(110));
    assert_eq!(refusal(&mut standby_host), [Err(Refusal::NotActive)]);
    let mut alone = Bench::active(settings());
    assert_eq!(refusal(&mut alone), [Err(Refusal::NoPeer)]);
    let mut fresh = Bench::active_with_standby(settings());
    fresh.peer = Some(Heartbeat {
        ready: false,
        ..standby(90)
    });
    fresh.pass(200);
    assert_eq!(refusal(&mut fresh), [Err(Refusal::PeerNotReady)]);
    let mut busy = Bench::active_with_standby(settings());
    busy.happen(order);
    busy.happen(order);
    assert_eq!(busy.outcomes(), [Err(Refusal::UnderWay)]);
}

#[test]
fn a_standby_that_falls_silent_before_it_is_its_turn_is_not_given_the_role() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.cut();
    bench.pass(1000);
    bench.happen(Event::Quiet);
    assert_eq!(bench.outcomes(), [Err(Refusal::NoPeer)]);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_role_that_is_declined_is_taken_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.send(PairMessage::Decline);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Err(Refusal::PeerNotReady)]);
}

#[test]
fn an_agent_that_ends_takes_nothing_with_it() {
    for decline in [false, true] {
        let mut bench = Bench::active_with_standby(settings());
        bench.happen(Event::HandOver(Reason::Stop));
        bench.happen(Event::Quiet);
        bench.forget();
        bench.cut();
        if decline {
            bench.send(PairMessage::Decline);
        }
        bench.pass(14_000);
        assert_eq!(bench.outcomes().is_empty(), !decline);
        assert!(decline || !bench.associated(), "it is about to end");
    }
}

#[test]
fn a_role_that_comes_back_before_the_address_moved_ends_the_first_hand_over() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.send(PairMessage::TakeOver);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Err(Refusal::NotTaken)]);
}

#[test]
fn an_order_to_end_overtakes_the_operators() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::HandOver(Reason::Stop));
    assert_eq!(bench.outcomes(), []);
    bench.happen(Event::Quiet);
    bench.peer = Some(master(90));
    bench.pass(1200);
    assert_eq!(bench.outcomes(), [Ok(())]);
    assert!(
        !bench.did(Action::Hold(false)),
        "an agent that ends refuses nobody"
    );
}

#[test]
fn a_host_that_returns_asks_for_the_role_when_it_is_ready() {
    let mut bench = Bench::new(settings());
    bench.happen(Event::LocalHealth(LocalHealth {
        synced: false,
        ..READY
    }));
    bench.link(master(90));
    bench.pass(5000);
    assert!(
        !bench.did(Action::Send(PairMessage::Ask)),
        "it has not got the flows"
    );
    assert_eq!(bench.state(), State::Backup);
    bench.happen(Event::LocalHealth(READY));
    bench.pass(200);
    assert!(bench.did(Action::Send(PairMessage::Ask)));
    bench.send(PairMessage::TakeOver);
    assert!(bench.did(Action::Became(State::Master, Cause::HandOver)));
    assert!(bench.associated());
}

#[test]
fn a_host_that_returns_waits_for_the_link_before_it_overrides_by_adverts() {
    let mut bench = Bench::new(settings());
    let start = bench.now;
    while bench.state() == State::Backup {
        bench.happen(advert(90));
        bench.pass(100);
        assert!(bench.now.since(start) < Duration::from_secs(32));
    }
    assert!(bench.now.since(start) >= Duration::from_secs(30));
}

#[test]
fn without_a_link_a_host_that_returns_overrides_at_once() {
    let mut bench = Bench::new(Settings {
        link: false,
        ..settings()
    });
    for _ in 0..4 {
        bench.happen(advert(90));
        bench.pass(100);
    }
    assert!(bench.did(Action::Became(State::Master, Cause::Preemption)));
}

#[test]
fn a_host_that_asked_in_vain_takes_over_by_its_priority() {
    let mut bench = Bench::standby(settings(), master(90));
    // At 8 s the standby is still asking for the role: the time allowed for requests to end and
    // another five seconds have not passed.
    bench.pass(8000);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(3000);
    assert!(bench.did(Action::Became(State::Master, Cause::Preemption)));
}

#[test]
fn nobody_asks_who_must_not_preempt() {
    let mut polite = settings();
    polite.vrrp.preempt = false;
    let mut bench = Bench::standby(polite, master(90));
    bench.pass(60_000);
    assert!(!bench.did(Action::Send(PairMessage::Ask)));
}

#[test]
fn nobody_asks_who_does_not_reach_the_api() {
    let mut bench = Bench::new(settings());
    bench.happen(Event::LocalHealth(LocalHealth {
        synced: false,
        ..READY
    }));
    bench.api = None;
    bench.link(master(90));
    bench.forget();
    bench.pass(18_500);
    assert!(bench.did(Action::Call(Call::Describe)));
    bench.happen(Event::Answer(Answer::Failed(
        Call::Describe,
        Failure::Other,
    )));
    bench.happen(Event::LocalHealth(READY));
    bench.pass(5000);
    assert!(!bench.did(Action::Send(PairMessage::Ask)));
    bench.happen(Event::Answer(Answer::Described(Owner::Other)));
    bench.pass(200);
    assert!(bench.did(Action::Send(PairMessage::Ask)));
}

#[test]
fn an_asked_host_hands_over_and_owes_the_operator_nothing() {
    let mut bench = Bench::active_with_standby(settings());
    bench.send(PairMessage::Ask);
    assert!(bench.did(Action::Hold(true)));
    bench.happen(Event::Quiet);
    bench.peer = Some(master(110));
    bench.pass(1200);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), []);
}

#[test]
fn who_cannot_take_the_role_declines_it() {
    let mut bench = Bench::standby(settings(), master(110));
    bench.happen(Event::LocalHealth(LocalHealth {
        fault: true,
        ..READY
    }));
    bench.send(PairMessage::TakeOver);
    assert!(bench.did(Action::Send(PairMessage::Decline)));
    assert_eq!(bench.state(), State::Fault);
}

#[test]
fn a_fault_gives_the_role_up_at_once() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::LocalHealth(LocalHealth {
        fault: true,
        ..READY
    }));
    assert!(bench.did(Action::Advert {
        priority: 0,
        interval: INTERVAL,
    }));
    assert!(bench.did(Action::Became(State::Fault, Cause::Fault)));
    assert!(bench.did(Action::Addresses { here: false }));
}

#[test]
fn an_agent_that_stops_says_goodbye_and_owes_no_hand_over() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Stop);
    assert!(bench.did(Action::Advert {
        priority: 0,
        interval: INTERVAL,
    }));
    assert!(bench.did(Action::Became(State::Init, Cause::Stopped)));
    assert_eq!(bench.outcomes(), [Err(Refusal::Stopping)]);
    assert_eq!(bench.host.deadline(), None);
}
