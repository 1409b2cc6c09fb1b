use std::{
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::config::{AddressFamily, Weight};

const DRAIN: Duration = Duration::from_secs(30);

fn dns() -> DiscoverySource {
    DiscoverySource::Dns {
        names: vec!["web.internal".to_owned()],
        port: 80,
        family: AddressFamily::Ipv4,
        nameservers: Vec::new(),
    }
}

fn membership(source: DiscoverySource) -> Membership {
    Membership::new(Discover {
        source,
        interval: Duration::from_secs(10),
        drain: DRAIN,
    })
}

/// Returns the moment that is this many seconds after the beginning of a test.
fn at(second: u64) -> Now {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now {
        monotonic: *BEGIN + Duration::from_secs(second),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second),
    }
}

fn address(octet: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, octet], 80))
}

fn listed(octet: u8) -> ListedBackend {
    ListedBackend::at(address(octet))
}

fn name(octet: u8) -> Name {
    Name::of_address(address(octet))
}

fn answer(octets: &[u8]) -> Answer {
    Answer {
        backends: octets.iter().copied().map(listed).collect(),
        valid_for: None,
    }
}

fn failure() -> SourceError {
    SourceError("10.0.0.2 does not answer".to_owned())
}

/// Returns the last octet of each backend's address, negated if the backend is leaving.
fn members(membership: &Membership) -> Vec<i16> {
    let octet = |backend: &Backend| match backend.address.ip() {
        std::net::IpAddr::V4(ip) => i16::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => 0,
    };
    let backends = membership.backends();
    let sign = |backend: &Backend| if backend.leaving { -1 } else { 1 };
    backends.iter().map(|one| sign(one) * octet(one)).collect()
}

#[test]
fn the_first_answer_adds_its_backends_sorted_by_address() {
    let mut pool = membership(dns());
    let changes = pool.apply(Ok(answer(&[7, 6])), at(0));
    let added = [7, 6].map(|octet| MembershipChange::Added(name(octet)));
    assert_eq!(changes, added);
    assert_eq!(members(&pool), [6, 7]);
    assert_eq!(pool.apply(Ok(answer(&[6, 7])), at(1)), []);
    assert_eq!(pool.source().answered, Some(at(1).wall));
}

#[test]
fn an_error_and_an_empty_answer_change_nothing_and_are_reported_once() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6, 7])), at(0));
    let failing = MembershipChange::Failing("10.0.0.2 does not answer".to_owned());
    assert_eq!(pool.apply(Err(failure()), at(1)), [failing]);
    for second in 2..1_000_000 {
        let outcome = if second % 2 == 0 {
            Ok(answer(&[]))
        } else {
            Err(failure())
        };
        assert_eq!(pool.apply(outcome, at(second)), []);
    }
    assert_eq!(members(&pool), [6, 7]);
    assert_eq!(pool.source().failing_since, Some(at(1).wall));
    assert_eq!(
        pool.apply(Ok(answer(&[6, 7])), at(1_000_000)),
        [MembershipChange::Restored]
    );
    let state = SourceState {
        answered: Some(at(1_000_000).wall),
        failing_since: None,
        error: None,
    };
    assert_eq!(*pool.source(), state);
}

#[test]
fn an_answer_without_backends_says_so() {
    let mut pool = membership(dns());
    let found = "DNS name web.internal has no backends".to_owned();
    assert_eq!(
        pool.apply(Ok(answer(&[])), at(0)),
        [MembershipChange::Failing(found)]
    );
    assert!(pool.backends().is_empty());
}

#[test]
fn a_backend_leaves_after_two_answers_without_it_and_is_removed_when_it_has_drained() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6, 7])), at(0));
    assert_eq!(pool.apply(Ok(answer(&[6])), at(10)), []);
    assert_eq!(members(&pool), [6, 7]);
    let leaving = [MembershipChange::Leaving(name(7))];
    assert_eq!(pool.apply(Ok(answer(&[6])), at(20)), leaving);
    assert_eq!(members(&pool), [6, -7]);
    assert_eq!(pool.apply(Ok(answer(&[6])), at(30)), []);
    assert_eq!(pool.expire(at(49), true), []);
    let removed = [MembershipChange::Removed(name(7))];
    assert_eq!(pool.expire(at(50), true), removed);
    assert_eq!(members(&pool), [6]);
}

#[test]
fn a_change_of_the_wall_clock_neither_shortens_nor_prolongs_a_drain() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    for wall in [at(0).wall - YEAR, at(0).wall + YEAR] {
        let mut pool = membership(dns());
        pool.apply(Ok(answer(&[6, 7])), at(0));
        pool.apply(Ok(answer(&[6])), at(10));
        pool.apply(Ok(answer(&[6])), at(20));
        assert_eq!(members(&pool), [6, -7]);
        // The wall clock is changed here.
        let now = |second| Now { wall, ..at(second) };
        assert_eq!(pool.apply(Ok(answer(&[6])), now(30)), []);
        assert_eq!(pool.expire(now(49), true), []);
        // A reload with another source does not change what is left of the drain.
        let mut pool = pool.clone().with_source(Discover {
            source: DiscoverySource::File(PathBuf::from("/etc/lb/web")),
            ..pool.settings().clone()
        });
        assert_eq!(pool.expire(now(49), true), []);
        let removed = [MembershipChange::Removed(name(7))];
        assert_eq!(pool.expire(now(50), true), removed);
    }
}

#[test]
fn one_answer_without_a_backend_counts_only_if_the_next_is_without_it_too() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6, 7])), at(0));
    for round in 0..10 {
        assert_eq!(pool.apply(Ok(answer(&[6])), at(2 * round)), []);
        assert_eq!(pool.apply(Ok(answer(&[7])), at(2 * round + 1)), []);
    }
    assert_eq!(members(&pool), [6, 7]);
}

#[test]
fn failures_between_two_answers_do_not_count_as_answers() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6, 7])), at(0));
    pool.apply(Ok(answer(&[6])), at(1));
    pool.apply(Err(failure()), at(2));
    pool.apply(Ok(answer(&[])), at(3));
    assert_eq!(members(&pool), [6, 7]);
    let changes = pool.apply(Ok(answer(&[6])), at(4));
    assert_eq!(
        changes,
        [
            MembershipChange::Restored,
            MembershipChange::Leaving(name(7))
        ]
    );
}

#[test]
fn one_reading_of_a_file_without_a_backend_suffices() {
    let mut pool = membership(DiscoverySource::File(PathBuf::from("/etc/lb/web")));
    pool.apply(Ok(answer(&[6, 7])), at(0));
    assert_eq!(
        pool.apply(Ok(answer(&[6])), at(1)),
        [MembershipChange::Leaving(name(7))]
    );
}

#[test]
fn a_backend_that_is_listed_again_stays() {
    let mut pool = membership(DiscoverySource::File(PathBuf::from("/etc/lb/web")));
    pool.apply(Ok(answer(&[6, 7])), at(0));
    pool.apply(Ok(answer(&[6])), at(1));
    assert_eq!(
        pool.apply(Ok(answer(&[6, 7])), at(2)),
        [MembershipChange::Added(name(7))]
    );
    assert_eq!(pool.expire(at(1000), true), []);
    assert_eq!(members(&pool), [6, 7]);
}

#[test]
fn backends_that_have_drained_stay_while_no_other_is_up() {
    let mut pool = membership(DiscoverySource::File(PathBuf::from("/etc/lb/web")));
    pool.apply(Ok(answer(&[6])), at(0));
    pool.apply(Ok(answer(&[7])), at(1));
    assert_eq!(pool.expire(at(1_000_000), false), []);
    assert_eq!(members(&pool), [-6, 7]);
    let removed = [MembershipChange::Removed(name(6))];
    assert_eq!(pool.expire(at(1_000_000), true), removed);
}

#[test]
fn all_backends_can_be_replaced_at_once() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6, 7])), at(0));
    pool.apply(Ok(answer(&[8, 9])), at(1));
    pool.apply(Ok(answer(&[8, 9])), at(2));
    assert_eq!(members(&pool), [-6, -7, 8, 9]);
    pool.expire(at(100), true);
    assert_eq!(members(&pool), [8, 9]);
}

#[test]
fn a_change_of_weight_name_or_backup_is_a_change_of_the_backend() {
    let mut pool = membership(dns());
    pool.apply(Ok(answer(&[6])), at(0));
    let one = ListedBackend {
        weight: Weight::new(3).expect("a weight"),
        ..listed(6)
    };
    let heavier = Answer {
        backends: vec![one.clone(), listed(6)],
        valid_for: None,
    };
    let changes = pool.apply(Ok(heavier), at(1));
    assert_eq!(
        changes,
        [MembershipChange::Changed(name(6))],
        "the first of two entries counts"
    );
    assert_eq!(pool.backends()[0].weight, one.weight);
}

#[test]
fn what_is_saved_is_what_another_agent_begins_with() {
    let mut pool = membership(DiscoverySource::File(PathBuf::from("/etc/lb/web")));
    pool.apply(Ok(answer(&[6, 7])), at(0));
    pool.apply(Ok(answer(&[7])), at(1));
    let restarted = |wall| Now {
        // The next agent may run after a restart of the host, with another monotonic clock.
        monotonic: at(1_000_000).monotonic,
        wall,
    };
    let restarts_at = |wall| {
        let settings = pool.settings().clone();
        Membership::with_saved(settings, pool.saved(), restarted(wall))
    };
    let mut next = restarts_at(at(11).wall);
    assert_eq!(next.backends(), pool.backends());
    assert_eq!(
        next.expire(at(1_000_000 + 19), true),
        [],
        "10 of 30 s have passed"
    );
    assert_eq!(
        next.expire(at(1_000_000 + 20), true),
        [MembershipChange::Removed(name(6))]
    );
    let mut late = restarts_at(at(1).wall + 2 * DRAIN);
    let removed = [MembershipChange::Removed(name(6))];
    assert_eq!(late.expire(at(1_000_000), true), removed);
    let mut set_back = restarts_at(SystemTime::UNIX_EPOCH);
    let drained = at(1_000_000 + DRAIN.as_secs());
    assert_eq!(set_back.expire(drained, true), removed, "not later");
    let mut unconfirmed = restarts_at(at(2).wall);
    unconfirmed.apply(Err(failure()), at(2));
    assert_eq!(
        members(&unconfirmed),
        [-6, 7],
        "the source is down when the agent starts"
    );
}

/// Returns an outcome of a query: a failure for 255; otherwise each of the lower seven bits says
/// whether one of seven backends is listed.
fn outcome(bits: u8) -> Result<Answer, SourceError> {
    if bits == 0xff {
        return Err(failure());
    }
    let octets: Vec<u8> = (0..7).filter(|bit| bits & (1 << bit) != 0).collect();
    Ok(answer(&octets))
}

proptest! {
    #[test]
    fn no_sequence_of_answers_empties_a_pool_or_removes_a_listed_backend(
        outcomes in proptest::collection::vec((any::<u8>(), 0_u64..40), 1..200)
    ) {
        let mut pool = membership(dns());
        let mut now = 0;
        let mut last: Option<Vec<SocketAddr>> = None;
        let mut left: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        for (bits, pause) in outcomes {
            now += pause;
            let before = pool.backends();
            let result = outcome(bits);
            let found: Option<Vec<SocketAddr>> = result.as_ref().ok()
                .map(|answer| answer.backends.iter().map(|one| one.address).collect())
                .filter(|found: &Vec<_>| !found.is_empty());
            pool.apply(result, at(now));
            let after = pool.backends();
            let staying = |backends: &[Backend]| -> Vec<SocketAddr> {
                backends.iter().filter(|one| !one.leaving).map(|one| one.address).collect()
            };
            match &found {
                // A query that fails or finds no backends changes nothing.
                None => prop_assert_eq!(&before, &after),
                Some(found) => {
                    // Everything that is listed is in the pool.
                    for one in found {
                        prop_assert!(staying(&after).contains(one));
                        left.remove(one);
                    }
                    // Nothing begins to leave unless two answers in a row are without it.
                    for one in staying(&before) {
                        if !staying(&after).contains(&one) {
                            prop_assert!(last.as_ref().is_some_and(|last| !last.contains(&one)));
                            left.insert(one, now);
                        }
                    }
                    last = Some(found.clone());
                }
            }
            // A pool that had backends still has some.
            prop_assert!(staying(&before).is_empty() || !staying(&after).is_empty());
            // Each backend is drained for the whole drain time, and is removed at the first call of
            // `expire` after that.
            pool.expire(at(now), true);
            let now_there = pool.backends();
            for (one, since) in &left {
                let is_there = now_there.iter().any(|backend| backend.address == *one);
                prop_assert_eq!(is_there, now < since + DRAIN.as_secs());
            }
            left.retain(|_, since| now < *since + DRAIN.as_secs());
        }
    }
}
