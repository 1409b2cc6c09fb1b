use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn at(hours: u64) -> Time {
    Time::after_start(HOUR * u32::try_from(hours).expect("few"))
}

fn material(number: u8) -> TicketKey {
    TicketKey::new(KeyId([number; 16]), [number; 32])
}

fn ids(rotation: &Rotation) -> Vec<u8> {
    rotation.keys().map(|key| key.id.0[0]).collect()
}

/// Steps the state machine with a tick, and creates the key that the state machine requests, if
/// any. Returns whether it requested one.
fn tick(rotation: &mut Rotation, now: Time, next: u8) -> bool {
    let makes = rotation.step(now, Event::Tick).contains(&Action::Make);
    if makes {
        rotation.step(now, Event::Made(material(next)));
    }
    makes
}

fn offer(rotation: &mut Rotation, now: Time) -> Offer {
    match rotation.step(now, Event::LinkUp).pop() {
        Some(Action::Send(offer)) => offer,
        other => panic!("{other:?}"),
    }
}

fn standby(number: u8, now: Time) -> Rotation {
    let mut rotation = Rotation::new(now, material(number));
    rotation.step(now, Event::Active(false));
    rotation
}

#[test]
fn a_key_issues_for_six_hours_and_two_before_it_are_accepted() {
    let mut rotation = Rotation::new(at(0), material(1));
    assert!(!tick(&mut rotation, at(5), 9));
    assert!(tick(&mut rotation, at(6), 2));
    assert!(!tick(&mut rotation, at(6), 9));
    assert_eq!(ids(&rotation), [2, 1]);
    assert!(tick(&mut rotation, at(12), 3));
    assert_eq!(ids(&rotation), [3, 2, 1]);
    assert!(tick(&mut rotation, at(18), 4));
    assert_eq!(ids(&rotation), [4, 3, 2]);
}

#[test]
fn a_new_key_is_sent_to_the_peer() {
    let mut rotation = Rotation::new(at(0), material(1));
    let actions = rotation.step(at(6), Event::Made(material(2)));
    let [Action::Publish, Action::Send(offer)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!((offer.issuer, offer.keys.len()), (material(2).id, 2));
}

#[test]
fn a_standby_makes_no_key_while_it_has_one() {
    let mut rotation = standby(1, at(0));
    assert!(!tick(&mut rotation, at(17), 9));
    assert_eq!(ids(&rotation), [1]);
    assert!(tick(&mut rotation, at(18), 2), "it has none left");
    assert_eq!(ids(&rotation), [2]);
}

#[test]
fn a_standby_that_becomes_active_makes_the_key_that_is_due() {
    let mut rotation = standby(1, at(0));
    let actions = rotation.step(at(7), Event::Active(true));
    assert_eq!(actions, [Action::Make]);
}

#[test]
fn the_active_hosts_key_issues_at_both() {
    // The standby's key is newer than the active host's.
    let mut active = Rotation::new(at(0), material(1));
    let mut other = standby(2, at(3));
    let (from_active, from_other) = (offer(&mut active, at(4)), offer(&mut other, at(4)));
    active.step(at(4), Event::Received(from_other));
    other.step(at(4), Event::Received(from_active));
    assert_eq!((ids(&active), ids(&other)), (vec![1, 2], vec![1, 2]));
    assert!(tick(&mut active, at(6), 3));
    let from_active = offer(&mut active, at(6));
    other.step(at(6), Event::Received(from_active));
    assert_eq!((ids(&active), ids(&other)), (vec![3, 2, 1], vec![3, 2, 1]));
}

#[test]
fn while_nobody_or_everybody_is_active_the_newest_key_issues() {
    for is_active in [false, true] {
        let (mut a, mut b) = (standby(1, at(0)), standby(2, at(3)));
        a.step(at(3), Event::Active(is_active));
        b.step(at(3), Event::Active(is_active));
        let (from_a, from_b) = (offer(&mut a, at(4)), offer(&mut b, at(4)));
        a.step(at(4), Event::Received(from_b));
        b.step(at(4), Event::Received(from_a));
        assert_eq!((ids(&a), ids(&b)), (vec![2, 1], vec![2, 1]));
    }
}

#[test]
fn a_key_that_has_ended_is_neither_accepted_nor_taken_over() {
    let mut old = Rotation::new(at(0), material(1));
    let offered = offer(&mut old, at(18));
    let mut rotation = standby(2, at(18));
    rotation.step(at(18), Event::Received(offered));
    assert_eq!(ids(&rotation), [2], "as old as that");
    let offered = offer(&mut old, at(17));
    rotation.step(at(18), Event::Received(offered));
    assert_eq!(ids(&rotation), [1, 2], "an hour is left");
    rotation.step(at(19), Event::Tick);
    assert_eq!(ids(&rotation), [2], "the issuer has ended");
}

#[test]
fn clocks_of_two_hosts_need_not_agree() {
    // The clock of one host started just now, that of the other host a year ago.
    let year = 365 * 24;
    let mut old = Rotation::new(at(year), material(1));
    let mut fresh = standby(2, at(0));
    let offered = offer(&mut old, at(year + 5));
    fresh.step(at(1), Event::Received(offered));
    assert_eq!(ids(&fresh), [1, 2]);
    fresh.step(at(14), Event::Tick);
    assert_eq!(ids(&fresh), [2], "13 hours were left of it");
}

#[test]
fn hearing_the_same_again_changes_nothing() {
    let mut a = Rotation::new(at(0), material(1));
    let mut b = standby(2, at(0));
    let offered = offer(&mut a, at(1));
    b.step(at(1), Event::Received(offered.clone()));
    let before = (ids(&b), offer(&mut b, at(5)));
    b.step(at(5), Event::Received(offered));
    assert_eq!(
        (ids(&b), offer(&mut b, at(5))),
        before,
        "not even a key's age"
    );
}

proptest! {
    #[test]
    fn whatever_is_heard_the_keys_are_few_and_one_issues(
        offers in proptest::collection::vec(
            (proptest::collection::vec((any::<u8>(), 0..80_000_000_u64), 0..40), any::<u8>(), any::<bool>()),
            1..5,
        ),
        active in any::<bool>(),
    ) {
        let mut rotation = Rotation::new(at(0), material(1));
        rotation.step(at(0), Event::Active(active));
        for (keys, issuer, active) in offers {
            let keys = keys.into_iter().map(|(number, age)| OfferedKey {
                id: KeyId([number; 16]),
                secret: [number; 32],
                age,
            });
            let offer = Offer { keys: keys.collect(), issuer: KeyId([issuer; 16]), active };
            rotation.step(at(1), Event::Received(offer));
            let ids = ids(&rotation);
            prop_assert!((1..=MOST_KEYS).contains(&ids.len()));
            prop_assert_eq!(rotation.issuer.0[0], ids[0]);
            let mut unique = ids.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), ids.len());
        }
    }
}
