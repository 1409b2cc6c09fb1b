use super::*;

fn at(millis: u64) -> Time {
    Time::after_start(Duration::from_millis(millis))
}

/// Returns a reconciler of the Elastic IP that does not want the address and has asked for its
/// owner once.
fn idle() -> Reconciler {
    let mut reconciler = Reconciler::new(at(0), 7);
    assert_eq!(reconciler.call(at(0)), Some(Call::Describe));
    let news = reconciler.answer(at(0), Answer::Described(Owner::Other));
    assert_eq!(news, Some(News::Seen(Owner::Other)));
    reconciler
}

/// Returns a reconciler of the Elastic IP whose association was accepted at 1 s of the test's
/// clock.
fn associated() -> Reconciler {
    let mut reconciler = idle();
    reconciler.want(at(1000), true);
    assert_eq!(reconciler.call(at(1000)), Some(Call::Associate));
    assert_eq!(reconciler.answer(at(1000), Answer::Associated), None);
    reconciler
}

/// Returns a reconciler of the Elastic IP whose host has had the address, as the EC2 API confirmed,
/// since 1 s of the test's clock.
fn keeping() -> Reconciler {
    let mut reconciler = associated();
    assert_eq!(reconciler.call(at(1000)), Some(Call::Describe));
    let news = reconciler.answer(at(1000), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    reconciler
}

/// Makes the next call to the EC2 API when the reconciler of the Elastic IP has it due. Returns the
/// pause from `now` to the call, and the call.
fn next(reconciler: &mut Reconciler, now: Time) -> (Duration, Call) {
    let due = reconciler.deadline().expect("there is always a next call");
    let call = reconciler.call(due).expect("it is due");
    assert_eq!(reconciler.deadline(), None, "one call at a time");
    (due.since(now), call)
}

fn within(duration: Duration, least: u64, most: u64) {
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    assert!((least..=most).contains(&duration), "{duration:?}");
}

#[test]
fn it_looks_at_once_and_then_now_and_then() {
    let mut reconciler = idle();
    let (pause, call) = next(&mut reconciler, at(0));
    assert_eq!(call, Call::Describe);
    within(pause, 12_000, 18_000);
}

#[test]
fn a_wanted_address_is_taken_at_once_and_confirmed_at_once() {
    let mut reconciler = idle();
    reconciler.want(at(1000), true);
    assert_eq!(reconciler.deadline(), Some(at(1000)));
    assert_eq!(reconciler.call(at(1000)), Some(Call::Associate));
    assert_eq!(reconciler.answer(at(1080), Answer::Associated), None);
    assert!(!reconciler.acquired(), "accepted is not done");
    assert_eq!(reconciler.call(at(1080)), Some(Call::Describe));
    let news = reconciler.answer(at(1120), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    assert!(reconciler.acquired());
    assert_eq!(reconciler.confirmed(), Some(at(1120)));
    assert_eq!(reconciler.moves(), 1);
    within(next(&mut reconciler, at(1120)).0, 4000, 6000);
}

#[test]
fn an_address_that_is_wanted_is_associated_even_where_it_seems_to_be_here() {
    let mut reconciler = Reconciler::new(at(0), 7);
    assert_eq!(reconciler.call(at(0)), Some(Call::Describe));
    reconciler.answer(at(0), Answer::Described(Owner::Us));
    reconciler.want(at(10), true);
    assert_eq!(reconciler.call(at(10)), Some(Call::Associate));
}

#[test]
fn there_is_never_a_second_call_under_way() {
    let mut reconciler = Reconciler::new(at(0), 7);
    assert_eq!(reconciler.call(at(0)), Some(Call::Describe));
    reconciler.want(at(5), true);
    reconciler.look(at(6));
    reconciler.watch(at(7), Watch::Alert);
    reconciler.reclaim(at(8));
    assert_eq!(reconciler.call(at(9)), None);
    assert_eq!(reconciler.deadline(), None);
    // The association that `reclaim` wanted follows the answer to the call to DescribeAddresses
    // that was in flight.
    reconciler.answer(at(50), Answer::Described(Owner::Other));
    assert_eq!(reconciler.call(at(50)), Some(Call::Associate));
}

#[test]
fn a_stale_description_is_asked_again_and_not_answered_with_an_association() {
    let mut reconciler = associated();
    let mut now = at(1000);
    let mut looks = 0;
    loop {
        let (pause, call) = next(&mut reconciler, now);
        now = now + pause;
        if call == Call::Associate {
            break;
        }
        assert!(pause <= Duration::from_secs(1));
        assert_eq!(
            reconciler.answer(now, Answer::Described(Owner::Other)),
            None
        );
        looks += 1;
    }
    assert!(
        now >= at(11_000) && now <= at(12_000),
        "after ten seconds: {now:?}"
    );
    assert!((10..30).contains(&looks), "{looks} looks");
    assert_eq!(reconciler.moves(), 1);
}

#[test]
fn an_address_seen_elsewhere_is_news_and_moves_nothing_by_itself() {
    let mut reconciler = keeping();
    let (_, call) = next(&mut reconciler, at(1000));
    assert_eq!(call, Call::Describe);
    let news = reconciler.answer(at(6000), Answer::Described(Owner::Other));
    assert_eq!(news, Some(News::Lost(Owner::Other)));
    // The reconciler calls DescribeAddresses again within 300 ms, as this host may have lost the
    // Elastic IP.
    let (pause, call) = next(&mut reconciler, at(6000));
    assert_eq!(call, Call::Describe);
    within(pause, 200, 300);
    let news = reconciler.answer(at(6300), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Seen(Owner::Us)));
}

#[test]
fn it_takes_the_address_back_when_told_to() {
    let mut reconciler = keeping();
    next(&mut reconciler, at(1000));
    reconciler.answer(at(6000), Answer::Described(Owner::Other));
    reconciler.reclaim(at(6000));
    assert!(!reconciler.acquired());
    assert_eq!(reconciler.call(at(6000)), Some(Call::Associate));
    reconciler.answer(at(6100), Answer::Associated);
    reconciler.call(at(6100));
    let news = reconciler.answer(at(6200), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Acquired));
    assert_eq!(reconciler.moves(), 2);
}

#[test]
fn an_address_that_is_not_wanted_is_not_taken_back() {
    let mut reconciler = idle();
    reconciler.reclaim(at(10));
    assert_ne!(next(&mut reconciler, at(10)).1, Call::Associate);
}

#[test]
fn an_answer_that_comes_when_the_address_is_not_wanted_any_more_does_not_acquire_it() {
    let mut reconciler = idle();
    reconciler.want(at(1000), true);
    reconciler.call(at(1000));
    reconciler.want(at(1500), false);
    assert_eq!(reconciler.answer(at(2000), Answer::Associated), None);
    assert_eq!(reconciler.call(at(2000)), Some(Call::Describe));
    let news = reconciler.answer(at(2100), Answer::Described(Owner::Us));
    assert_eq!(news, Some(News::Seen(Owner::Us)));
    assert!(!reconciler.acquired());
}

#[test]
fn an_association_that_failed_is_tried_again_after_waits_that_grow() {
    let mut reconciler = idle();
    reconciler.want(at(0), true);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (pause, call) = next(&mut reconciler, now);
        assert_eq!(call, Call::Associate);
        waits.push(pause);
        now = now + pause;
        reconciler.answer(now, Answer::Failed(Call::Associate, Failure::Other));
        assert!(reconciler.failing());
    }
    // Each pause before the association of the Elastic IP is tried again is at random between half
    // and the whole of an upper limit, which grows with each failure: 0.25, 0.5, 1, 2, 4, 4, …
    // seconds.
    for (index, most) in [250, 500, 1000, 2000, 4000, 4000, 4000]
        .into_iter()
        .enumerate()
    {
        within(waits[index + 1], most / 2, most);
    }
}

#[test]
fn throttling_makes_it_wait_longer_and_a_success_makes_it_forget() {
    let mut reconciler = keeping();
    let (_, call) = next(&mut reconciler, at(1000));
    reconciler.answer(at(6000), Answer::Failed(call, Failure::Throttled));
    let (pause, call) = next(&mut reconciler, at(6000));
    within(pause, 250, 500);
    reconciler.answer(at(6500), Answer::Failed(call, Failure::Throttled));
    let (pause, _) = next(&mut reconciler, at(6500));
    within(pause, 500, 1000);
    reconciler.answer(at(7500), Answer::Described(Owner::Us));
    assert!(!reconciler.failing());
    let (pause, call) = next(&mut reconciler, at(7500));
    within(pause, 4000, 6000);
    reconciler.answer(at(13_500), Answer::Failed(call, Failure::Throttled));
    within(next(&mut reconciler, at(13_500)).0, 250, 500);
}

#[test]
fn a_description_that_failed_says_nothing_of_the_address() {
    let mut reconciler = keeping();
    for now in [6000, 7000, 8000, 9000, 10_000, 11_000] {
        let (pause, call) = next(&mut reconciler, at(0));
        assert_eq!(call, Call::Describe);
        assert!(pause > Duration::ZERO);
        let news = reconciler.answer(at(now), Answer::Failed(call, Failure::Other));
        assert_eq!(news, None);
        assert!(reconciler.acquired());
    }
    // While the Elastic IP is wanted, at most a second passes between two calls of
    // DescribeAddresses, although the calls fail.
    within(next(&mut reconciler, at(11_000)).0, 500, 1000);
    assert_eq!(reconciler.confirmed(), Some(at(1000)));
}

#[test]
fn an_accepted_association_is_not_repeated_because_a_description_failed() {
    let mut reconciler = associated();
    assert_eq!(reconciler.call(at(1000)), Some(Call::Describe));
    reconciler.answer(at(1100), Answer::Failed(Call::Describe, Failure::Other));
    assert_eq!(next(&mut reconciler, at(1100)).1, Call::Describe);
}

#[test]
fn alert_it_looks_four_times_a_second() {
    let mut reconciler = keeping();
    reconciler.watch(at(2000), Watch::Alert);
    let mut now = at(2000);
    for _ in 0..10 {
        let (pause, call) = next(&mut reconciler, now);
        assert_eq!(call, Call::Describe);
        within(pause, 200, 300);
        now = now + pause;
        reconciler.answer(now, Answer::Described(Owner::Us));
    }
    reconciler.watch(now, Watch::Calm);
    next(&mut reconciler, now);
    reconciler.answer(now, Answer::Described(Owner::Us));
    within(next(&mut reconciler, now).0, 4000, 6000);
}

#[test]
fn waiting_for_the_address_to_come_free_it_looks_every_second() {
    let mut reconciler = keeping();
    reconciler.want(at(2000), false);
    reconciler.watch(at(2000), Watch::Waiting);
    let (pause, _) = next(&mut reconciler, at(2000));
    within(pause, 800, 1200);
    let news = reconciler.answer(at(3200), Answer::Described(Owner::Nobody));
    assert_eq!(news, Some(News::Seen(Owner::Nobody)));
    within(next(&mut reconciler, at(3200)).0, 800, 1200);
}

#[test]
fn a_look_that_is_asked_for_does_not_put_off_an_association() {
    let mut reconciler = idle();
    reconciler.want(at(0), true);
    reconciler.look(at(0));
    assert_eq!(reconciler.call(at(0)), Some(Call::Associate));
}

#[test]
fn two_keepers_do_not_keep_step() {
    let pause = |seed| {
        let mut reconciler = Reconciler::new(at(0), seed);
        reconciler.call(at(0));
        reconciler.answer(at(0), Answer::Described(Owner::Other));
        next(&mut reconciler, at(0)).0
    };
    assert_ne!(pause(2), pause(3));
}
