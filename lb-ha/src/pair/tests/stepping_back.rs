//! Tests of stepping back, and of becoming active again.

use super::*;

#[test]
fn one_stale_description_moves_nothing() {
    let mut bench = Bench::active_with_standby(settings());
    bench.api = None;
    bench.pass(6_100);
    assert!(bench.did(Action::Call(Call::Describe)));
    bench.api = Some(Owner::Us);
    bench.happen(Event::Answer(Answer::Described(Owner::Other)));
    bench.pass(10_000);
    assert!(!bench.associated());
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn an_active_host_that_hears_nobody_and_finds_the_address_elsewhere_steps_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.api = Some(Owner::Other);
    // The host notices the peer's silence after 361 ms; then it asks the EC2 API twice for the
    // owner of the Elastic IP, at most 300 ms apart.
    bench.pass(361 + 600);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
    assert!(bench.host.view(bench.now).stepped_back);
    bench.forget();
    bench.pass(3_600_000);
    assert!(!bench.associated(), "it fights for nothing");
    assert_eq!(bench.state(), State::Backup);
}

#[test]
fn a_host_that_stepped_back_takes_over_when_the_address_comes_free() {
    let mut bench = stepped_back();
    bench.api = Some(Owner::Nobody);
    bench.pass(1300);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.associated());
}

#[test]
fn a_host_that_stepped_back_is_active_when_the_address_is_its_own() {
    let mut bench = stepped_back();
    bench.api = Some(Owner::Us);
    bench.pass(1300);
    assert!(bench.did(Action::Became(State::Master, Cause::AddressHere)));
}

#[test]
fn a_host_that_stepped_back_takes_part_again_when_both_hear_each_other() {
    let mut bench = stepped_back();
    bench.link(master(90));
    bench.pass(200);
    assert!(!bench.host.view(bench.now).stepped_back);
    assert!(
        bench.did(Action::Send(PairMessage::Ask)),
        "its priority counts"
    );
    bench.forget();
    bench.cut();
    bench.pass(400);
    assert!(bench.did(Action::Became(State::Master, Cause::Silence)));
}

#[test]
fn a_host_that_stepped_back_and_hears_adverts_alone_waits_before_it_overrides() {
    let mut bench = stepped_back();
    let start = bench.now;
    while bench.state() == State::Backup {
        bench.happen(advert(90));
        bench.pass(100);
        assert!(bench.now.since(start) < Duration::from_secs(32));
    }
    assert!(bench.did(Action::Became(State::Master, Cause::Preemption)));
    assert!(bench.now.since(start) > Duration::from_secs(28));
}

#[test]
fn a_host_that_stepped_back_and_heard_the_other_one_takes_over_when_it_falls_silent() {
    let mut bench = stepped_back();
    bench.happen(advert(110));
    bench.pass(362);
    assert!(bench.did(Action::Became(State::Master, Cause::Silence)));
}

fn stepped_back() -> Bench {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.happen(Event::LinkDown);
    bench.api = Some(Owner::Other);
    bench.pass(2000);
    assert!(bench.host.view(bench.now).stepped_back);
    bench.forget();
    bench
}

#[test]
fn an_active_host_without_the_api_and_without_the_other_host_steps_back_after_three_seconds() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.api = None;
    bench.pass(361 + 2900);
    assert_eq!(bench.state(), State::Master);
    bench.pass(200);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
}

#[test]
fn an_active_host_that_was_alone_for_long_steps_back_half_a_minute_after_it_lost_the_api() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.pass(120_000);
    assert_eq!(bench.state(), State::Master);
    bench.api = None;
    bench.pass(23_900);
    assert_eq!(bench.state(), State::Master, "an outage that is soon over");
    bench.pass(6_200);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
}

#[test]
fn an_active_host_that_never_heard_the_other_one_steps_back_when_it_loses_the_api() {
    let mut bench = Bench::active(settings());
    bench.pass(120_000);
    bench.api = None;
    bench.pass(30_100);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
}

#[test]
fn an_active_host_that_hears_another_active_one_and_loses_the_api_steps_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.api = None;
    bench.peer = Some(master(90));
    bench.pass(29_900);
    assert_eq!(bench.state(), State::Master);
    bench.pass(200);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
}

#[test]
fn without_a_link_an_outage_of_the_api_changes_no_role() {
    let mut bench = Bench::active(Settings {
        link: false,
        ..settings()
    });
    bench.happen(advert(0));
    bench.pass(120_000);
    bench.api = None;
    bench.pass(600_000);
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_host_that_stepped_back_for_want_of_news_keeps_its_addresses() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.api = None;
    bench.pass(5000);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
    assert!(!bench.did(Action::Addresses { here: false }));
    // A later answer of the EC2 API shows that the Elastic IP is at another host.
    bench.happen(Event::Answer(Answer::Described(Owner::Other)));
    assert!(bench.did(Action::Addresses { here: false }));
}

#[test]
fn a_host_in_fault_or_stopped_keeps_no_addresses() {
    for end in [
        Event::Stop,
        Event::LocalHealth(LocalHealth {
            fault: true,
            ..READY
        }),
    ] {
        let mut bench = Bench::active_with_standby(settings());
        bench.cut();
        bench.api = None;
        bench.pass(5000);
        bench.happen(end);
        assert!(bench.did(Action::Addresses { here: false }), "{end:?}");
    }
}

#[test]
fn without_an_arbiter_no_call_is_made_and_nobody_steps_back() {
    let mut bench = Bench::new(Settings {
        arbiter: Arbiter::None,
        ..settings()
    });
    bench.link(standby(90));
    bench.pass(2000);
    bench.cut();
    bench.pass(600_000);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.host.view(bench.now).has_address);
    let calls = bench
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Call(_)));
    assert_eq!(calls.count(), 0);
}
