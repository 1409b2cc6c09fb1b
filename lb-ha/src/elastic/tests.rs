use super::*;

fn at(millis: u64) -> Time {
    Time::after_start(Duration::from_millis(millis))
}

/// A keeper that has looked once and wants nothing.
fn idle() -> Keeper {
    let mut keeper = Keeper::new(at(0), 7);
    assert_eq!(keeper.call(at(0)), Some(Call::Describe));
    let news = keeper.answer(at(0), Answer::Described(Owner::Other));
    assert_eq!(news, Some(News::Seen(Owner::Other)));
    keeper
}

/// A keeper whose association was accepted at 1 s.
fn associated() -> Keeper {
    let mut keeper = idle();
    keeper.want(at(1000), true);
    assert_eq!(keeper.call(at(1000)), Some(Call::Associate));
    assert_eq!(keeper.answer(at(1000), Answer::Associated), None);
    keeper
}

/// A keeper that has the address since 1 s.
fn keeping() -> Keeper {
    let mut keeper = associated();
    assert_eq!(keeper.call(at(1000)), Some(Call::Describe));
    let news = keeper.answer(at(1000), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    keeper
}

/// The next call, made when it is due; how long after `now` that is.
fn next(keeper: &mut Keeper, now: Time) -> (Duration, Call) {
    let due = keeper.deadline().expect("there is always a next call");
    let call = keeper.call(due).expect("it is due");
    assert_eq!(keeper.deadline(), None, "one call at a time");
    (due.since(now), call)
}

fn within(duration: Duration, least: u64, most: u64) {
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    assert!((least..=most).contains(&duration), "{duration:?}");
}

#[test]
fn it_looks_at_once_and_then_now_and_then() {
    let mut keeper = idle();
    let (pause, call) = next(&mut keeper, at(0));
    assert_eq!(call, Call::Describe);
    within(pause, 12_000, 18_000);
}

#[test]
fn a_wanted_address_is_taken_at_once_and_confirmed_at_once() {
    let mut keeper = idle();
    keeper.want(at(1000), true);
    assert_eq!(keeper.deadline(), Some(at(1000)));
    assert_eq!(keeper.call(at(1000)), Some(Call::Associate));
    assert_eq!(keeper.answer(at(1080), Answer::Associated), None);
    assert!(!keeper.acquired(), "accepted is not done");
    assert_eq!(keeper.call(at(1080)), Some(Call::Describe));
    let news = keeper.answer(at(1120), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    assert!(keeper.acquired());
    assert_eq!(keeper.confirmed(), Some(at(1120)));
    assert_eq!(keeper.moves(), 1);
    within(next(&mut keeper, at(1120)).0, 4000, 6000);
}

#[test]
fn an_address_that_is_wanted_is_associated_even_where_it_seems_to_be_here() {
    let mut keeper = Keeper::new(at(0), 7);
    assert_eq!(keeper.call(at(0)), Some(Call::Describe));
    keeper.answer(at(0), Answer::Described(Owner::Us));
    keeper.want(at(10), true);
    assert_eq!(keeper.call(at(10)), Some(Call::Associate));
}

#[test]
fn there_is_never_a_second_call_under_way() {
    let mut keeper = Keeper::new(at(0), 7);
    assert_eq!(keeper.call(at(0)), Some(Call::Describe));
    keeper.want(at(5), true);
    keeper.look(at(6));
    keeper.watch(at(7), Watch::Alert);
    keeper.reclaim(at(8));
    assert_eq!(keeper.call(at(9)), None);
    assert_eq!(keeper.deadline(), None);
    // What is wanted follows the answer.
    keeper.answer(at(50), Answer::Described(Owner::Other));
    assert_eq!(keeper.call(at(50)), Some(Call::Associate));
}

#[test]
fn a_stale_description_is_asked_again_and_not_answered_with_an_association() {
    let mut keeper = associated();
    let mut now = at(1000);
    let mut looks = 0;
    loop {
        let (pause, call) = next(&mut keeper, now);
        now = now + pause;
        if call == Call::Associate {
            break;
        }
        assert!(pause <= Duration::from_secs(1));
        assert_eq!(keeper.answer(now, Answer::Described(Owner::Other)), None);
        looks += 1;
    }
    assert!(
        now >= at(11_000) && now <= at(12_000),
        "after ten seconds: {now:?}"
    );
    assert!((10..30).contains(&looks), "{looks} looks");
    assert_eq!(keeper.moves(), 1);
}

#[test]
fn an_address_seen_elsewhere_is_news_and_moves_nothing_by_itself() {
    let mut keeper = keeping();
    let (_, call) = next(&mut keeper, at(1000));
    assert_eq!(call, Call::Describe);
    let news = keeper.answer(at(6000), Answer::Described(Owner::Other));
    assert_eq!(news, Some(News::Lost(Owner::Other)));
    // It is looked at again soon.
    let (pause, call) = next(&mut keeper, at(6000));
    assert_eq!(call, Call::Describe);
    within(pause, 200, 300);
    let news = keeper.answer(at(6300), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Seen(Owner::Us)));
}

#[test]
fn it_takes_the_address_back_when_told_to() {
    let mut keeper = keeping();
    next(&mut keeper, at(1000));
    keeper.answer(at(6000), Answer::Described(Owner::Other));
    keeper.reclaim(at(6000));
    assert!(!keeper.acquired());
    assert_eq!(keeper.call(at(6000)), Some(Call::Associate));
    keeper.answer(at(6100), Answer::Associated);
    keeper.call(at(6100));
    let news = keeper.answer(at(6200), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    assert_eq!(keeper.moves(), 2);
}

#[test]
fn an_address_that_is_not_wanted_is_not_taken_back() {
    let mut keeper = idle();
    keeper.reclaim(at(10));
    assert_ne!(next(&mut keeper, at(10)).1, Call::Associate);
}

#[test]
fn an_answer_that_comes_when_the_address_is_not_wanted_any_more_does_not_acquire_it() {
    let mut keeper = idle();
    keeper.want(at(1000), true);
    keeper.call(at(1000));
    keeper.want(at(1500), false);
    assert_eq!(keeper.answer(at(2000), Answer::Associated), None);
    assert_eq!(keeper.call(at(2000)), Some(Call::Describe));
    let news = keeper.answer(at(2100), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Seen(Owner::Us)));
    assert!(!keeper.acquired());
}

#[test]
fn an_association_that_failed_is_tried_again_after_waits_that_grow() {
    let mut keeper = idle();
    keeper.want(at(0), true);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (pause, call) = next(&mut keeper, now);
        assert_eq!(call, Call::Associate);
        waits.push(pause);
        now = now + pause;
        keeper.answer(now, Answer::Failed(Call::Associate, Failure::Other));
        assert!(keeper.failing());
    }
    // From half of each step to the whole of it: 0.25, 0.5, 1, 2, 4, 4, … seconds.
    for (index, most) in [250, 500, 1000, 2000, 4000, 4000, 4000]
        .into_iter()
        .enumerate()
    {
        within(waits[index + 1], most / 2, most);
    }
}

#[test]
fn throttling_makes_it_wait_longer_and_a_success_makes_it_forget() {
    let mut keeper = keeping();
    let (_, call) = next(&mut keeper, at(1000));
    keeper.answer(at(6000), Answer::Failed(call, Failure::Throttled));
    let (pause, call) = next(&mut keeper, at(6000));
    within(pause, 250, 500);
    keeper.answer(at(6500), Answer::Failed(call, Failure::Throttled));
    let (pause, _) = next(&mut keeper, at(6500));
    within(pause, 500, 1000);
    keeper.answer(at(7500), Answer::Described(Owner::Us));
    assert!(!keeper.failing());
    let (pause, call) = next(&mut keeper, at(7500));
    within(pause, 4000, 6000);
    keeper.answer(at(13_500), Answer::Failed(call, Failure::Throttled));
    within(next(&mut keeper, at(13_500)).0, 250, 500);
}

#[test]
fn a_description_that_failed_says_nothing_of_the_address() {
    let mut keeper = keeping();
    for now in [6000, 7000, 8000, 9000, 10_000, 11_000] {
        let (pause, call) = next(&mut keeper, at(0));
        assert_eq!(call, Call::Describe);
        assert!(pause > Duration::ZERO);
        let news = keeper.answer(at(now), Answer::Failed(call, Failure::Other));
        assert_eq!(news, None);
        assert!(keeper.acquired());
    }
    // While it is wanted, no longer than a second passes between looks.
    within(next(&mut keeper, at(11_000)).0, 500, 1000);
    assert_eq!(keeper.confirmed(), Some(at(1000)));
}

#[test]
fn an_accepted_association_is_not_repeated_because_a_description_failed() {
    let mut keeper = associated();
    assert_eq!(keeper.call(at(1000)), Some(Call::Describe));
    keeper.answer(at(1100), Answer::Failed(Call::Describe, Failure::Other));
    assert_eq!(next(&mut keeper, at(1100)).1, Call::Describe);
}

#[test]
fn alert_it_looks_four_times_a_second() {
    let mut keeper = keeping();
    keeper.watch(at(2000), Watch::Alert);
    let mut now = at(2000);
    for _ in 0..10 {
        let (pause, call) = next(&mut keeper, now);
        assert_eq!(call, Call::Describe);
        within(pause, 200, 300);
        now = now + pause;
        keeper.answer(now, Answer::Described(Owner::Us));
    }
    keeper.watch(now, Watch::Calm);
    next(&mut keeper, now);
    keeper.answer(now, Answer::Described(Owner::Us));
    within(next(&mut keeper, now).0, 4000, 6000);
}

#[test]
fn waiting_for_the_address_to_come_free_it_looks_every_second() {
    let mut keeper = keeping();
    keeper.want(at(2000), false);
    keeper.watch(at(2000), Watch::Waiting);
    let (pause, _) = next(&mut keeper, at(2000));
    within(pause, 800, 1200);
    let news = keeper.answer(at(3200), Answer::Described(Owner::Nobody));
    assert_eq!(news, Some(News::Seen(Owner::Nobody)));
    within(next(&mut keeper, at(3200)).0, 800, 1200);
}

#[test]
fn a_look_that_is_asked_for_does_not_put_off_an_association() {
    let mut keeper = idle();
    keeper.want(at(0), true);
    keeper.look(at(0));
    assert_eq!(keeper.call(at(0)), Some(Call::Associate));
}

#[test]
fn two_keepers_do_not_keep_step() {
    let pause = |seed| {
        let mut keeper = Keeper::new(at(0), seed);
        keeper.call(at(0));
        keeper.answer(at(0), Answer::Described(Owner::Other));
        next(&mut keeper, at(0)).0
    };
    assert_ne!(pause(2), pause(3));
}
