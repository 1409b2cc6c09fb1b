//! Tests of a new agent process that continues in place of an earlier one.

use super::*;

/// Creates a host that continues in place of a process that sent its last message `millis` ms ago.
fn resumed(millis: u64, has_address: bool, api: Option<Owner>) -> Bench {
    let now = Time::after_start(Duration::from_secs(100));
    let mut bench = Bench {
        host: Host::new(now, settings()),
        now,
        api,
        peer: None,
        next_beat: now,
        actions: Vec::new(),
    };
    bench.happen(Event::Resume {
        silent_for: Duration::from_millis(millis),
        has_address,
    });
    bench
}

#[test]
fn a_master_goes_on_at_once_and_confirms_the_address_without_moving_it() {
    let mut bench = resumed(50, true, Some(Owner::Us));
    let advert = Action::Advert {
        priority: 100,
        interval: INTERVAL,
    };
    assert_eq!(bench.actions.first(), Some(&advert), "before all else");
    assert!(bench.did(Action::Became(State::Master, Cause::Resumed)));
    assert!(bench.did(Action::Addresses { here: true }));
    assert!(!bench.did(Action::Addresses { here: false }));
    assert!(bench.did(Action::Call(Call::Describe)));
    assert!(bench.host.view(bench.now).has_address);
    bench.happen(Event::LocalHealth(READY));
    bench.link(standby(90));
    bench.pass(20_000);
    assert!(!bench.associated());
    assert_eq!(bench.state(), State::Master);
    assert_eq!(bench.host.view(bench.now).moves, 0);
}

#[test]
fn an_address_that_was_on_its_way_is_asked_for_again() {
    let bench = resumed(50, false, Some(Owner::Us));
    assert!(bench.associated());
    assert!(bench.host.view(bench.now).has_address);
}

#[test]
fn an_address_that_has_gone_meanwhile_is_not_taken_from_a_host_that_is_not_heard() {
    let mut bench = resumed(50, true, Some(Owner::Other));
    bench.pass(2000);
    assert!(!bench.associated());
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
}

#[test]
fn one_that_comes_too_late_starts_like_any_other() {
    let mut bench = resumed(10_000, true, Some(Owner::Us));
    assert_eq!(bench.state(), State::Backup);
    assert!(bench.did(Action::Addresses { here: false }));
    bench.happen(Event::LocalHealth(READY));
    bench.link(master(90));
    bench.pass(200);
    assert_eq!(bench.state(), State::Backup, "it hears who is master");
}
