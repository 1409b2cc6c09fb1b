//! Tests the merging of the operator overrides of two hosts.

use super::*;

/// Exchanges overrides as when the link between the two agents comes up: each host sends all of its
/// overrides, and replies with those that the other host lacks.
fn exchange(a: &mut BackendRegistry, b: &mut BackendRegistry, now: SystemTime) {
    let (from_a, from_b) = (a.overrides_message(), b.overrides_message());
    let (heard_a, heard_b) = (
        a.merge_overrides(&from_b, now),
        b.merge_overrides(&from_a, now),
    );
    for (answer, to) in [(heard_a.answer, b), (heard_b.answer, a)] {
        if let Some(answer) = answer {
            assert_eq!(
                to.merge_overrides(&answer, now).answer,
                None,
                "there is an end to it"
            );
        }
    }
}

fn order_of(registry: &BackendRegistry, address: &str) -> AdminState {
    registry.status(&id("web", address)).expect("known").order
}

#[test]
fn an_order_given_at_one_host_is_followed_at_the_other() {
    let (mut a, mut b) = (fresh(&[web()]), fresh(&[web()]));
    a.set_override("web1", AdminState::Drain, at(5))
        .expect("known");
    let heard = b.merge_overrides(&a.overrides_message(), at(6));
    let [taken] = heard.taken.as_slice() else {
        panic!("{heard:?}");
    };
    assert_eq!(taken.name, "web/web1");
    assert_eq!((taken.state, taken.change.is_some()), (Draining, true));
    assert_eq!(heard.answer, None, "there was no news");
    assert_eq!(states(&b), states(&a));
    assert!(
        b.merge_overrides(&a.overrides_message(), at(7))
            .taken
            .is_empty(),
        "heard once"
    );
}

#[test]
fn of_two_orders_the_newer_wins_at_both_hosts() {
    let (mut a, mut b) = (fresh(&[web()]), fresh(&[web()]));
    a.set_override("web1", AdminState::Drain, at(5))
        .expect("known");
    b.set_override("web2", AdminState::Down, at(5))
        .expect("known");
    b.set_override("web1", AdminState::Down, at(6))
        .expect("known");
    a.set_override("web2", AdminState::Ready, at(6))
        .expect("known");
    exchange(&mut a, &mut b, at(7));
    for registry in [&a, &b] {
        assert_eq!(order_of(registry, "10.0.0.6:80"), AdminState::Down);
        assert_eq!(order_of(registry, "10.0.0.7:80"), AdminState::Ready);
    }
}

#[test]
fn a_later_order_wins_though_its_hosts_clock_is_behind() {
    let (mut a, mut b) = (fresh(&[web()]), fresh(&[web()]));
    a.set_override("web1", AdminState::Drain, at(90_000))
        .expect("known");
    b.merge_overrides(&a.overrides_message(), at(10));
    b.set_override("web1", AdminState::Ready, at(11))
        .expect("known");
    a.merge_overrides(&b.overrides_message(), at(90_001));
    assert_eq!(order_of(&a, "10.0.0.6:80"), AdminState::Ready);
}

#[test]
fn an_agent_that_starts_again_does_not_bring_old_orders_back() {
    let (mut a, mut b) = (fresh(&[web()]), fresh(&[web()]));
    a.set_override("web1", AdminState::Drain, at(5))
        .expect("known");
    exchange(&mut a, &mut b, at(6));
    b.set_override("web1", AdminState::Ready, at(7))
        .expect("known");
    // While host `a` is not connected, `b` restarts. The saved states of `b` say that the override
    // of web1 is "ready", and when it was set.
    let mut b = BackendRegistry::new(&[web()], &b.saved_states(), at(8));
    exchange(&mut a, &mut b, at(9));
    for registry in [&a, &b] {
        assert_eq!(order_of(registry, "10.0.0.6:80"), AdminState::Ready);
    }
}

#[test]
fn overrides_of_backends_that_only_the_peer_has_apply_once_they_are_added() {
    let more = pool("web", &[("web1", "10.0.0.6:80"), ("web9", "10.0.0.9:80")]);
    let (mut a, mut b) = (fresh(&[web()]), fresh(&[more]));
    b.set_override("web9", AdminState::Drain, at(5))
        .expect("known");
    exchange(&mut a, &mut b, at(6));
    assert_eq!(states(&a), [Up, Up]);
    // A reload adds the backend web9 to host `a`. When the hosts next exchange the overrides of
    // their operators, host `a` receives the override of web9 that was set on host `b`.
    let mut a = a.reloaded(&[pool("web", &[("web9", "10.0.0.9:80")])], at(7));
    exchange(&mut a, &mut b, at(8));
    assert_eq!(states(&a), [Draining]);
}

/// An override set at one of the two hosts, or an exchange of overrides between the hosts.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Order(bool, bool, AdminState),
    Exchange,
}

fn operations() -> impl Strategy<Value = Vec<(Operation, u64)>> {
    let order = prop_oneof![
        Just(AdminState::Ready),
        Just(AdminState::Drain),
        Just(AdminState::Down)
    ];
    let operation = prop_oneof![
        4 => (any::<bool>(), any::<bool>(), order)
            .prop_map(|(host, backend, order)| Operation::Order(host, backend, order)),
        1 => Just(Operation::Exchange),
    ];
    // The number is the second at which the operation happens. The seconds are not sorted, because
    // the clocks of hosts may jump.
    proptest::collection::vec((operation, 0..50_u64), 0..30)
}

proptest! {
    #[test]
    fn two_hosts_that_talk_agree_whatever_happened_before(operations in operations()) {
        let (mut a, mut b) = (fresh(&[web()]), fresh(&[web()]));
        for (operation, second) in operations {
            match operation {
                Operation::Order(host, backend, order) => {
                    let registry = if host { &mut a } else { &mut b };
                    let name = if backend { "web1" } else { "web2" };
                    registry.set_override(name, order, at(second)).expect("known");
                }
                Operation::Exchange => exchange(&mut a, &mut b, at(second)),
            }
        }
        exchange(&mut a, &mut b, at(50));
        prop_assert_eq!(states(&a), states(&b));
        prop_assert_eq!(a.overrides_message().overrides(), b.overrides_message().overrides());
    }
}
