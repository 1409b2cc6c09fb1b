use lb_common::backend::BackendState::{Down, Draining, Up};

use super::*;
use crate::config::{Backend, Balance, PerRequest, Pool, Weight};

/// Returns the view of a pool whose backends have these states and operator overrides. Those that
/// are draining are leaving the pool.
fn view(when_all_down: WhenAllDown, backends: &[(BackendState, AdminState)]) -> PoolView {
    let listed = (0..).zip(backends).map(|(octet, (state, _))| {
        let address = SocketAddr::from(([10, 0, 0, octet], 80));
        Backend {
            name: Name::of_address(address),
            address,
            weight: Weight::ONE,
            backup: false,
            leaving: *state == Draining,
        }
    });
    let pool = Pool {
        name: Name::parse("web").expect("a name"),
        balance: Balance::RoundRobin,
        check: None,
        when_all_down,
        retries: 3,
        per_request: PerRequest::default(),
        backends: listed.collect(),
        discover: None,
    };
    let states = backends.iter().map(|(state, _)| *state).collect();
    PoolView {
        overrides: backends.iter().map(|(_, order)| *order).collect(),
        ..PoolView::new(Arc::new(pool), states)
    }
}

use AdminState::{Drain, Ready};

#[test]
fn a_healthy_backend_that_is_leaving_serves_while_no_other_is_up() {
    let backends = [(Draining, Ready), (Down, Ready), (Draining, Drain)];
    for when_all_down in [WhenAllDown::TryAll, WhenAllDown::Refuse] {
        let view = view(when_all_down, &backends);
        assert_eq!(view.all_down(), None);
        assert_eq!(view.taken_states(), [Up, Down, Draining]);
    }
    let with_one_up = [(Draining, Ready), (Up, Ready), (Draining, Drain)];
    let view = view(WhenAllDown::TryAll, &with_one_up);
    assert_eq!(view.taken_states(), [Draining, Up, Draining]);
}

#[test]
fn when_all_are_down_those_without_an_override_are_tried_or_none() {
    let backends = [(Down, Ready), (Draining, Drain), (Down, AdminState::Down)];
    let trying = view(WhenAllDown::TryAll, &backends);
    assert_eq!(trying.all_down(), Some(AllDown::Trying));
    assert_eq!(trying.taken_states(), [Up, Draining, Down]);
    let refusing = view(WhenAllDown::Refuse, &backends);
    assert_eq!(refusing.all_down(), Some(AllDown::Refusing));
    assert_eq!(refusing.taken_states(), [Down, Draining, Down]);
    let nothing = view(WhenAllDown::TryAll, &[]);
    assert_eq!(nothing.all_down(), Some(AllDown::Refusing));
    assert!(nothing.taken_states().is_empty());
}
