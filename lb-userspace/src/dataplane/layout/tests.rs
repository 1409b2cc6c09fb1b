use lb_common::{backend::BackendState, limits};

use super::*;
use crate::{
    config::{Balance, Forward, Pool, Weight, WhenAllDown},
    pool::AdminState,
};

fn pool(last_octets: &[u8]) -> Arc<Pool> {
    named("web", last_octets)
}

fn named(name: &str, last_octets: &[u8]) -> Arc<Pool> {
    let backends = last_octets
        .iter()
        .map(|octet| config::Backend {
            name: Name::parse(&format!("web{octet}")).expect("a name"),
            address: SocketAddr::from(([10, 0, 0, *octet], 80)),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        })
        .collect();
    Arc::new(Pool {
        name: Name::parse(name).expect("a name"),
        balance: Balance::RoundRobin,
        check: None,
        when_all_down: WhenAllDown::Refuse,
        retries: 3,
        per_request: config::PerRequest::default(),
        backends,
        discover: None,
    })
}

fn service(pool: &Arc<Pool>, port: u16, mode: Mode) -> config::Service {
    config::Service {
        name: Name::parse(&format!("s{port}")).expect("a name"),
        listen: SocketAddr::from(([172, 31, 0, 68], port)),
        mode,
        pool: Some(Arc::clone(pool)),
        routing: Arc::default(),
        timeouts: config::Timeouts::default(),
    }
}

const STEERED: Mode = Mode::Tcp {
    forward: Forward::Nat,
};

fn view(pool: &Arc<Pool>, states: &[BackendState]) -> Arc<PoolView> {
    Arc::new(PoolView::new(Arc::clone(pool), states.to_vec()))
}

fn ids(layout: &Layout) -> Vec<BackendId> {
    layout.services[0]
        .backends
        .iter()
        .map(|backend| backend.id)
        .collect()
}

#[test]
fn numbers_stay_when_the_maps_are_adopted_or_others_leave() {
    let up = BackendState::Up;
    let three = pool(&[6, 7, 9]);
    let first = Layout::default()
        .next(&[service(&three, 80, STEERED)], &[view(&three, &[up; 3])])
        .expect("fits");
    let services = [(first.services[0].key, first.services[0].value)];
    let backends: Vec<_> = first.services[0]
        .backends
        .iter()
        .map(|one| (one.id, one.value))
        .collect();
    let two = pool(&[9, 7]);
    let later = Layout::adopted(&services, &backends, Vec::new())
        .next(&[service(&two, 80, STEERED)], &[view(&two, &[up; 2])])
        .expect("fits");
    assert_eq!(ids(&first), [0, 1, 2].map(BackendId));
    assert_eq!(ids(&later), [2, 1].map(BackendId));
}

#[test]
fn a_number_rests_before_another_backend_gets_it() {
    let up = BackendState::Up;
    let (old, new) = (pool(&[6]), pool(&[7]));
    let first = Layout::default()
        .next(&[service(&old, 80, STEERED)], &[view(&old, &[up])])
        .expect("fits");
    let later = first
        .next(&[service(&new, 80, STEERED)], &[view(&new, &[up])])
        .expect("fits");
    assert_eq!(
        (ids(&first), ids(&later)),
        (vec![BackendId(0)], vec![BackendId(1)])
    );
}

/// Returns, for each backend of a service, the number of its first row in the map `source_ports`,
/// and how many rows it has there.
fn rows(layout: &Layout, service: usize) -> Vec<(u16, u16)> {
    let backends = layout.services[service].backends.iter();
    backends
        .map(|one| (one.value.row, one.value.rows))
        .collect()
}

#[test]
fn a_backend_has_a_row_for_each_source_address_and_keeps_its_rows() {
    let up = BackendState::Up;
    let further = vec![[172, 31, 0, 71], [172, 31, 0, 72]];
    let two = pool(&[6, 7]);
    let first = Layout::adopted(&[], &[], further.clone())
        .next(&[service(&two, 80, STEERED)], &[view(&two, &[up; 2])])
        .expect("fits");
    assert_eq!(rows(&first, 0), [(0, 3), (3, 3)]);
    let services = [(first.services[0].key, first.services[0].value)];
    let backends: Vec<_> = first.services[0]
        .backends
        .iter()
        .map(|one| (one.id, one.value))
        .collect();
    let three = pool(&[7, 9, 6]);
    let later = Layout::adopted(&services, &backends, further)
        .next(&[service(&three, 80, STEERED)], &[view(&three, &[up; 3])])
        .expect("fits");
    assert_eq!(rows(&later, 0), [(3, 3), (6, 3), (0, 3)]);
}

#[test]
fn services_at_two_addresses_do_not_share_the_further_source_addresses() {
    let (one, up) = (pool(&[6]), [BackendState::Up]);
    let here = service(&one, 80, STEERED);
    let mut there = service(&one, 81, STEERED);
    there.listen = SocketAddr::from(([172, 31, 0, 69], 80));
    let beside = service(&one, 82, STEERED);
    let both = Layout::adopted(&[], &[], vec![[172, 31, 0, 71]])
        .next(&[here.clone(), there.clone(), beside], &[view(&one, &up)])
        .expect("fits");
    assert_eq!(rows(&both, 0), [(0, 2)]);
    assert_eq!(rows(&both, 1), [(2, 1)], "another address, no further ones");
    assert_eq!(rows(&both, 2), [(0, 2)], "the same address, the same rows");
    let exchanged = both
        .next(&[there.clone(), here], &[view(&one, &up)])
        .expect("fits");
    assert_eq!(rows(&exchanged, 0), [(2, 1)], "the owner keeps them");
    let alone = exchanged.next(&[there], &[view(&one, &up)]).expect("fits");
    assert_eq!(rows(&alone, 0), [(2, 2)]);
}

#[test]
fn a_full_table_of_backends_can_be_exchanged_for_another() {
    let (up, most) = (BackendState::Up, limits::BACKENDS as usize);
    let crowd = |first: usize| {
        let backends = (first..first + most).map(|number| {
            let [.., a, b, c] = number.to_be_bytes();
            config::Backend {
                name: Name::parse(&format!("b{number}")).expect("a name"),
                address: SocketAddr::from(([10, a, b, c], 80)),
                weight: Weight::ONE,
                backup: false,
                leaving: false,
            }
        });
        Arc::new(Pool {
            backends: backends.collect(),
            ..(*pool(&[])).clone()
        })
    };
    let mut layout = Layout::default();
    for first in [0, most / 2] {
        let pool = crowd(first);
        layout = layout
            .next(
                &[service(&pool, 80, STEERED)],
                &[view(&pool, &vec![up; most])],
            )
            .expect("they have room");
        let numbers: HashSet<BackendId> = ids(&layout).into_iter().collect();
        assert_eq!(numbers.len(), most);
    }
}

#[test]
fn a_backend_that_is_down_or_draining_is_in_no_slot() {
    let four = pool(&[6, 7, 9, 19]);
    let states = [
        BackendState::Up,
        BackendState::Down,
        BackendState::Draining,
        BackendState::Up,
    ];
    let mut layout = Layout::default()
        .next(
            &[service(&four, 80, STEERED)],
            &[view(&four, &[BackendState::Up; 4])],
        )
        .expect("fits");
    let changed = layout.changed_by(&[view(&four, &states)]);
    layout.commit(changed);
    let ring = layout.services[0].ring.as_ref().expect("steered");
    assert!(
        ring.slots
            .iter()
            .all(|slot| [0, 3].map(BackendId).contains(slot))
    );
    assert_eq!(
        layout.services[0].backends[1].value.state,
        BackendState::Down.number()
    );
}

#[test]
fn backends_that_are_tried_while_all_are_down_are_in_the_ring() {
    let trying = Arc::new(Pool {
        when_all_down: WhenAllDown::TryAll,
        ..(*pool(&[6, 7, 9])).clone()
    });
    let mut all_down = PoolView::new(Arc::clone(&trying), vec![BackendState::Down; 3]);
    all_down.overrides[1] = AdminState::Down;
    let layout = Layout::default()
        .next(&[service(&trying, 80, STEERED)], &[Arc::new(all_down)])
        .expect("fits");
    let steered = &layout.services[0];
    assert_eq!(
        steered.ring.as_ref().expect("steered").slots,
        [0, 2].map(BackendId)
    );
    let states = steered.backends.iter().map(|one| one.value.state);
    let [up, down] = [BackendState::Up, BackendState::Down].map(BackendState::number);
    assert_eq!(states.collect::<Vec<_>>(), [up, down, up]);
}

#[test]
fn a_pool_that_changes_touches_its_own_services_alone() {
    let up = BackendState::Up;
    let (web, api) = (pool(&[6, 7]), named("api", &[9]));
    let layout = Layout::default()
        .next(
            &[
                service(&web, 80, STEERED),
                service(&api, 81, STEERED),
                service(&web, 82, STEERED),
                service(&web, 443, Mode::Http),
            ],
            &[view(&web, &[up; 2]), view(&api, &[up])],
        )
        .expect("fits");
    let changed = layout.changed_by(&[view(&web, &[up, BackendState::Down])]);
    let names: Vec<_> = changed
        .iter()
        .map(|one| one.service.name.as_str())
        .collect();
    assert_eq!(names, ["s80", "s82"]);
    assert!(layout.changed_by(&[view(&web, &[up; 2])]).is_empty());
}

#[test]
fn the_retries_of_a_pool_are_those_of_its_services() {
    let refusing = Arc::new(Pool {
        retries: 0,
        per_request: config::PerRequest::default(),
        ..(*pool(&[6, 7])).clone()
    });
    let layout = Layout::default()
        .next(
            &[service(&refusing, 80, STEERED)],
            &[view(&refusing, &[BackendState::Up; 2])],
        )
        .expect("fits");
    assert_eq!(layout.services[0].value.retries, 0);
}

#[test]
fn the_room_for_a_ring_does_not_depend_on_states() {
    let four = pool(&[6, 7, 9, 19]);
    let room = |states: [BackendState; 4]| {
        let layout =
            Layout::default().next(&[service(&four, 80, STEERED)], &[view(&four, &states)]);
        layout.expect("fits").services[0].capacity
    };
    assert_eq!(room([BackendState::Up; 4]), 4);
    assert_eq!(room([BackendState::Down; 4]), 4);
}

#[test]
fn a_service_of_the_agent_has_no_ring_and_no_backends() {
    let one = pool(&[6]);
    let layout = Layout::default()
        .next(
            &[service(&one, 443, Mode::Http)],
            &[view(&one, &[BackendState::Up])],
        )
        .expect("fits");
    assert!(layout.services[0].value.is_served_by_agent() && layout.services[0].ring.is_none());
    assert!(layout.services[0].backends.is_empty());
}

#[test]
fn a_steered_service_needs_an_address_of_its_own() {
    let one = pool(&[6]);
    let mut everywhere = service(&one, 80, STEERED);
    everywhere.listen = SocketAddr::from(([0, 0, 0, 0], 80));
    let refused = Layout::default().next(&[everywhere], &[view(&one, &[BackendState::Up])]);
    assert!(
        refused
            .expect_err("no address")
            .to_string()
            .contains("0.0.0.0:80")
    );
}

#[test]
fn backends_can_be_replaced_for_ever() {
    let up = BackendState::Up;
    // With so many addresses of its own, a balancer has room for fewer than two thousand backends.
    let sources = vec![[172, 31, 0, 69]; 16];
    let mut layout = Layout::adopted(&[], &[], sources);
    for number in 0..5000_u16 {
        let [high, low] = number.to_be_bytes();
        let mut pool = Pool::clone(&pool(&[6, 7]));
        pool.backends[1].address = SocketAddr::from(([10, 1, high, low], 80));
        let pool = Arc::new(pool);
        let next = layout.next(&[service(&pool, 80, STEERED)], &[view(&pool, &[up; 2])]);
        layout = next.unwrap_or_else(|error| panic!("backend {number}: {error}"));
        assert_eq!(
            rows(&layout, 0)[0].0,
            0,
            "the backend that stays keeps its rows"
        );
    }
}
