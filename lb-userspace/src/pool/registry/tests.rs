use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    config::{Backend, Balance, Check, CheckKind, Weight},
    pool::AllDown,
};

mod merge;

fn pool(name: &str, backends: &[(&str, &str)]) -> Arc<config::Pool> {
    let backends = backends.iter().map(|(name, address)| Backend {
        name: Name::parse(name).expect("a name"),
        address: address.parse().expect("an address"),
        weight: Weight::ONE,
        backup: false,
        leaving: false,
    });
    Arc::new(config::Pool {
        name: Name::parse(name).expect("a name"),
        balance: Balance::RoundRobin,
        check: Some(Check {
            kind: CheckKind::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }),
        when_all_down: config::WhenAllDown::TryAll,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends: backends.collect(),
        discover: None,
    })
}

fn without_check(pool: &config::Pool) -> Arc<config::Pool> {
    Arc::new(config::Pool {
        check: None,
        ..pool.clone()
    })
}

fn web() -> Arc<config::Pool> {
    pool("web", &[("web1", "10.0.0.6:80"), ("web2", "10.0.0.7:80")])
}

fn id(pool: &str, address: &str) -> BackendKey {
    BackendKey {
        pool: Name::parse(pool).expect("a name"),
        address: address.parse().expect("an address"),
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn fresh(pools: &[Arc<config::Pool>]) -> BackendRegistry {
    BackendRegistry::new(pools, &SavedStates::default(), at(0))
}

fn states(registry: &BackendRegistry) -> Vec<BackendState> {
    let views = registry.views();
    views.flat_map(|view| view.states.clone()).collect()
}

fn taken_states(registry: &BackendRegistry) -> Vec<BackendState> {
    registry
        .views()
        .flat_map(|view| view.taken_states())
        .collect()
}

use BackendState::{Down, Draining, Up};

#[test]
fn backends_begin_up() {
    assert_eq!(states(&fresh(&[web()])), [Up, Up]);
}

#[test]
fn a_failed_backend_goes_down_and_comes_back() {
    let mut registry = fresh(&[web()]);
    let web2 = id("web", "10.0.0.7:80");
    let change = registry
        .record_check(&web2, false, at(5))
        .expect("a change");
    assert_eq!((change.from, change.to), (Up, Down));
    assert_eq!(change.backend.as_str(), "web2");
    assert_eq!(change.view.states, [Up, Down]);
    assert_eq!(
        registry.status(&web2).map(|member| member.since),
        Some(at(5))
    );
    assert_eq!(
        registry.record_check(&web2, false, at(6)),
        None,
        "said before"
    );
    let change = registry.record_check(&web2, true, at(7)).expect("a change");
    assert_eq!(change.view.states, [Up, Up]);
}

#[test]
fn a_backend_has_come_up_by_its_check_by_an_order_or_by_a_reload_and_not_by_the_start() {
    let mut registry = fresh(&[web()]);
    let came_up = |registry: &BackendRegistry| {
        let view = registry.views().next().expect("a pool");
        view.came_up.clone()
    };
    let web1 = id("web", "10.0.0.6:80");
    assert_eq!(came_up(&registry), [None, None]);
    registry.record_check(&web1, true, at(1));
    assert_eq!(came_up(&registry), [None, None]);
    registry.record_check(&web1, false, at(2));
    registry.record_check(&web1, true, at(3));
    assert_eq!(came_up(&registry), [Some(at(3)), None]);
    let order = |registry: &mut BackendRegistry, order, second| {
        registry
            .set_override("web2", order, at(second))
            .expect("a backend");
    };
    order(&mut registry, AdminState::Drain, 4);
    order(&mut registry, AdminState::Ready, 5);
    assert_eq!(came_up(&registry), [Some(at(3)), Some(at(5))]);
    let more = pool("web", &[("web3", "10.0.0.9:80"), ("other", "10.0.0.6:80")]);
    let registry = registry.reloaded(&[more], at(7));
    assert_eq!(came_up(&registry), [Some(at(7)), Some(at(3))]);
}

#[test]
fn an_order_stands_above_the_checks() {
    let mut registry = fresh(&[web()]);
    let web2 = id("web", "10.0.0.7:80");
    let ordered = registry
        .set_override("web2", AdminState::Down, at(1))
        .expect("reached");
    assert_eq!((ordered.name.as_str(), ordered.state), ("web/web2", Down));
    assert_eq!(ordered.change.map(|change| change.to), Some(Down));
    assert_eq!(registry.record_check(&web2, false, at(2)), None);
    assert_eq!(registry.record_check(&web2, true, at(3)), None);
    assert_eq!(states(&registry), [Up, Down]);
    let ordered = registry
        .set_override("web2", AdminState::Ready, at(4))
        .expect("reached");
    assert_eq!(ordered.change.map(|change| change.to), Some(Up));
}

#[test]
fn a_draining_backend_that_dies_is_down_and_drains_again_when_it_returns() {
    let mut registry = fresh(&[web()]);
    let web1 = id("web", "10.0.0.6:80");
    registry
        .set_override("web1", AdminState::Drain, at(1))
        .expect("reached");
    assert_eq!(states(&registry), [Draining, Up]);
    registry.record_check(&web1, false, at(2));
    assert_eq!(states(&registry), [Down, Up]);
    registry.record_check(&web1, true, at(3));
    assert_eq!(states(&registry), [Draining, Up]);
}

#[test]
fn backends_that_are_all_down_are_tried_but_for_those_that_the_operator_took_out() {
    let mut registry = fresh(&[web()]);
    let (web1, web2) = (id("web", "10.0.0.6:80"), id("web", "10.0.0.7:80"));
    let change = registry
        .record_check(&web1, false, at(1))
        .expect("a change");
    assert_eq!(change.view.all_down(), None);
    assert_eq!(change.view.taken_states(), [Down, Up]);
    let change = registry
        .record_check(&web2, false, at(2))
        .expect("a change");
    assert_eq!(change.view.all_down(), Some(AllDown::Trying));
    assert_eq!(change.view.taken_states(), [Up, Up]);
    assert_eq!(change.view.states, [Down, Down]);

    let ordered = registry
        .set_override("web1", AdminState::Drain, at(3))
        .expect("reached");
    let change = ordered
        .change
        .expect("its pool changes, though its state does not");
    assert_eq!((change.from, change.to), (Down, Down));
    assert_eq!(change.view.taken_states(), [Down, Up]);
    let ordered = registry
        .set_override("web2", AdminState::Down, at(4))
        .expect("reached");
    let change = ordered.change.expect("its pool changes");
    assert_eq!(
        change.view.all_down(),
        Some(AllDown::Refusing),
        "none is left"
    );

    let change = registry.record_check(&web1, true, at(5)).expect("a change");
    assert_eq!(change.view.taken_states(), [Draining, Down]);
    let ordered = registry
        .set_override("web1", AdminState::Ready, at(6))
        .expect("reached");
    let change = ordered.change.expect("a change");
    assert_eq!(change.view.all_down(), None);
    assert_eq!(change.view.taken_states(), [Up, Down]);
}

#[test]
fn an_order_for_a_failed_backend_of_a_pool_that_serves_changes_nothing() {
    let mut registry = fresh(&[web()]);
    registry.record_check(&id("web", "10.0.0.7:80"), false, at(1));
    let ordered = registry
        .set_override("web2", AdminState::Drain, at(2))
        .expect("reached");
    assert_eq!((ordered.state, ordered.change), (Down, None));
    assert_eq!(
        registry.view(&web().name).map(|view| view.overrides[1]),
        Some(AdminState::Drain)
    );
}

#[test]
fn backends_that_are_all_down_are_left_alone_where_the_pool_refuses() {
    let refusing = Arc::new(config::Pool {
        when_all_down: config::WhenAllDown::Refuse,
        ..(*web()).clone()
    });
    let mut registry = fresh(&[refusing]);
    registry.record_check(&id("web", "10.0.0.6:80"), false, at(1));
    let change = registry.record_check(&id("web", "10.0.0.7:80"), false, at(2));
    let view = change.expect("a change").view;
    assert_eq!(view.all_down(), Some(AllDown::Refusing));
    assert_eq!(view.taken_states(), [Down, Down]);
}

#[test]
fn a_reload_keeps_the_states_of_backends_that_stay() {
    let mut registry = fresh(&[web()]);
    registry
        .set_override("web1", AdminState::Drain, at(1))
        .expect("reached");
    registry.record_check(&id("web", "10.0.0.7:80"), false, at(2));
    let after = pool(
        "web",
        &[
            ("web9", "10.0.0.9:80"),
            ("renamed", "10.0.0.7:80"),
            ("web1", "10.0.0.6:80"),
        ],
    );
    let reloaded = registry.reloaded(&[after], at(9));
    assert_eq!(states(&reloaded), [Up, Down, Draining]);
    let renamed = reloaded.status(&id("web", "10.0.0.7:80"));
    assert_eq!(renamed.map(|member| member.since), Some(at(2)));
}

#[test]
fn a_backend_whose_check_was_taken_away_is_up() {
    let mut registry = fresh(&[web()]);
    registry.record_check(&id("web", "10.0.0.7:80"), false, at(2));
    let reloaded = registry.reloaded(&[without_check(&web())], at(9));
    assert_eq!(states(&reloaded), [Up, Up]);
}

#[test]
fn the_next_agent_takes_over_orders_and_health() {
    let mut registry = fresh(&[web()]);
    registry
        .set_override("web1", AdminState::Drain, at(1))
        .expect("reached");
    registry.record_check(&id("web", "10.0.0.7:80"), false, at(2));
    let next = BackendRegistry::new(&[web()], &registry.saved_states(), at(60));
    assert_eq!(states(&next), [Draining, Down]);
}

#[test]
fn a_name_in_two_pools_needs_its_pool() {
    let api = pool("api", &[("web2", "10.0.0.7:8080")]);
    let mut registry = fresh(&[web(), api]);
    let error = registry
        .set_override("web2", AdminState::Drain, at(1))
        .expect_err("ambiguous");
    assert_eq!(
        error.to_string(),
        r#""web2" is ambiguous: it could be any of web/web2, api/web2; name one of them"#
    );
    assert_eq!(states(&registry), [Up, Up, Up], "nothing happened");
    let ordered = registry
        .set_override("api/web2", AdminState::Drain, at(1))
        .expect("reached");
    assert_eq!(ordered.name, "api/web2");
    assert_eq!(states(&registry), [Up, Up, Draining]);
}

#[test]
fn a_backend_is_found_by_its_address_too() {
    let mut registry = fresh(&[web()]);
    let reached = registry.set_override("web/10.0.0.7:80", AdminState::Down, at(1));
    assert_eq!(reached.expect("reached").name, "web/web2");
}

#[test]
fn an_unknown_name_lists_those_there_are() {
    let mut registry = fresh(&[web()]);
    let error = registry
        .set_override("web7", AdminState::Down, at(1))
        .expect_err("unknown");
    assert_eq!(
        error.to_string(),
        r#"there is no backend "web7"; the backends are web/web1, web/web2"#
    );
}

#[derive(Clone, Debug)]
enum Event {
    Checked(usize, bool),
    OverrideApplied(usize, AdminState),
}

fn event(backends: usize) -> impl Strategy<Value = Event> {
    let order = prop_oneof![
        Just(AdminState::Ready),
        Just(AdminState::Drain),
        Just(AdminState::Down)
    ];
    prop_oneof![
        (0..backends, any::<bool>()).prop_map(|(index, healthy)| Event::Checked(index, healthy)),
        (0..backends, order).prop_map(|(index, order)| Event::OverrideApplied(index, order)),
    ]
}

proptest! {
    /// Asserts for any sequence of events: the state of a backend depends only on its last health
    /// and its last override; a change is reported exactly when a state changed or new connections
    /// go to other backends; `since` is the time at which the state changed; and no other backend's
    /// state changes.
    #[test]
    fn a_state_is_the_last_health_and_the_last_order(
        events in prop::collection::vec(event(2), 0..60),
    ) {
        let addresses = ["10.0.0.6:80", "10.0.0.7:80"];
        let mut registry = fresh(&[web()]);
        let mut model = [(true, AdminState::Ready, at(0)); 2];
        for (second, event) in events.into_iter().enumerate() {
            let now = at(second as u64 + 1);
            let (before, taken) = (states(&registry), taken_states(&registry));
            let (index, change) = match event {
                Event::Checked(index, healthy) => {
                    model[index].0 = healthy;
                    (index, registry.record_check(&id("web", addresses[index]), healthy, now))
                }
                Event::OverrideApplied(index, order) => {
                    model[index].1 = order;
                    let reached = registry.set_override(addresses[index], order, now);
                    (index, reached.expect("reached").change)
                }
            };
            let after = states(&registry);
            let goes_elsewhere = taken != taken_states(&registry);
            prop_assert_eq!(change.is_some(), before != after || goes_elsewhere);
            if before != after {
                model[index].2 = now;
            }
            if let Some(change) = change {
                prop_assert_eq!(change.from, before[index]);
                prop_assert_eq!(change.to, after[index]);
                prop_assert_eq!(&change.view.states, &after);
            }
            for (index, (healthy, order, since)) in model.iter().enumerate() {
                prop_assert_eq!(after[index], combined_state(*healthy, *order));
                let member = registry.status(&id("web", addresses[index])).expect("a member");
                prop_assert_eq!(member.since, *since);
            }
            let again = BackendRegistry::new(&[web()], &registry.saved_states(), now);
            prop_assert_eq!(states(&again), after);
        }
    }
}
