use std::net::Ipv4Addr;

use super::*;
use crate::{elastic::Failure, vrrp::Version};

const INTERVAL: Duration = Duration::from_millis(100);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const READY: Standing = Standing {
    weight: 0,
    fault: false,
    checked: true,
    synced: true,
};

fn settings() -> Settings {
    Settings {
        vrrp: vrrp::Settings {
            priority: 100,
            interval: INTERVAL,
            version: Version::V3,
            preempt: true,
            preempt_delay: Duration::ZERO,
            address: OURS,
        },
        peer: THEIRS,
        link: true,
        arbiter: Arbiter::Ec2,
        handover: Duration::from_secs(5),
        seed: 1,
    }
}

/// A host, what happens to it, and an EC2 API that answers at once.
struct Bench {
    host: Host,
    now: Time,
    /// What the API says; `None`: nothing, calls stay under way.
    api: Option<Owner>,
    /// What the other host says with every interval, from its next heartbeat on.
    peer: Option<Heartbeat>,
    next_beat: Time,
    actions: Vec<Action>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Time::after_start(Duration::from_secs(100));
        let mut bench = Self {
            host: Host::new(now, settings),
            now,
            api: Some(Owner::Other),
            peer: None,
            next_beat: now,
            actions: Vec::new(),
        };
        bench.happen(Event::Start);
        bench.happen(Event::Standing(READY));
        bench
    }

    /// A host that heard nobody and is active, with the address.
    fn active(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.api = Some(Owner::Us);
        bench.pass(1000);
        assert_eq!(bench.host.state(), State::Master);
        assert!(bench.host.view(bench.now).has_address);
        bench.forget();
        bench
    }

    /// The same with a standby that is heard over the link.
    fn active_with_standby(settings: Settings) -> Self {
        let mut bench = Self::active(settings);
        bench.link(standby(90));
        bench.pass(300);
        bench.forget();
        bench
    }

    /// A standby that hears an active host over the link.
    fn standby(settings: Settings, active: Heartbeat) -> Self {
        let mut bench = Self::new(settings);
        bench.link(active);
        bench.pass(1000);
        bench.forget();
        bench
    }

    fn link(&mut self, beat: Heartbeat) {
        self.happen(Event::LinkUp);
        self.peer = Some(beat);
        self.next_beat = self.now;
    }

    fn cut(&mut self) {
        self.peer = None;
    }

    fn forget(&mut self) {
        self.actions.clear();
    }

    fn happen(&mut self, event: Event) {
        let actions = self.host.step(self.now, event);
        self.actions.extend(&actions);
        for action in actions {
            if let Action::Call(call) = action
                && let Some(owner) = self.api
            {
                self.happen(Event::Answer(match call {
                    Call::Associate => Answer::Associated,
                    Call::Describe => Answer::Described(owner),
                }));
            }
        }
    }

    fn say(&mut self, word: Word) {
        self.happen(Event::Word(word));
    }

    /// Lets milliseconds pass: timers fire, the other host says its word.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            let beat = self.peer.map(|_| self.next_beat);
            let timer = self.host.deadline();
            let next = beat.into_iter().chain(timer).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now);
            if beat == Some(next) {
                self.next_beat = next + INTERVAL;
                if let Some(beat) = self.peer {
                    self.say(Word::Heartbeat(beat));
                }
            } else {
                self.happen(Event::Timer);
            }
        }
    }

    fn did(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    fn associated(&self) -> bool {
        self.did(Action::Call(Call::Associate))
    }

    fn state(&self) -> State {
        self.host.state()
    }

    fn outcomes(&self) -> Vec<Result<(), Refusal>> {
        let outcomes = self.actions.iter().filter_map(|action| match action {
            Action::HandedOver(outcome) => Some(*outcome),
            _ => None,
        });
        outcomes.collect()
    }
}

fn standby(priority: u8) -> Heartbeat {
    Heartbeat {
        state: State::Backup,
        priority,
        interval_millis: 100,
        ready: true,
        hears_you: true,
        has_address: false,
        moves: 0,
    }
}

fn master(priority: u8) -> Heartbeat {
    Heartbeat {
        state: State::Master,
        has_address: true,
        ..standby(priority)
    }
}

fn advert(priority: u8) -> Event {
    Event::Advert(Heard {
        priority,
        interval: INTERVAL,
        from: THEIRS,
    })
}

#[test]
fn a_host_that_hears_nobody_becomes_active_and_takes_the_address() {
    let mut bench = Bench::new(settings());
    bench.api = Some(Owner::Us);
    bench.pass(360);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(1);
    assert!(bench.did(Action::Became(State::Master, Cause::Silence)));
    assert!(bench.did(Action::Addresses { here: true }));
    assert!(bench.associated());
    assert!(bench.host.view(bench.now).has_address);
}

#[test]
fn a_host_does_not_take_over_before_its_backends_are_checked_or_ten_seconds_passed() {
    let mut bench = Bench::new(settings());
    bench.happen(Event::Standing(Standing::default()));
    bench.pass(9_990);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(10);
    assert_eq!(bench.state(), State::Master);

    let mut bench = Bench::new(settings());
    bench.happen(Event::Standing(Standing::default()));
    bench.pass(2000);
    bench.happen(Event::Standing(READY));
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn heartbeats_are_as_good_as_adverts() {
    let mut bench = Bench::standby(settings(), master(110));
    bench.pass(10_000);
    assert_eq!(bench.state(), State::Backup);
    bench.cut();
    bench.pass(262);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(100);
    assert!(bench.did(Action::Became(State::Master, Cause::Silence)));
}

#[test]
fn an_active_host_looks_after_the_address_and_takes_it_back_from_whoever_has_it() {
    let mut bench = Bench::active_with_standby(settings());
    bench.pass(10_000);
    assert!(!bench.associated());
    bench.api = Some(Owner::Other);
    bench.pass(6_400);
    assert!(bench.associated(), "the other host is heard, as a standby");
    assert_eq!(bench.state(), State::Master);
}

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
fn an_address_that_nobody_has_is_taken_at_the_first_look() {
    let mut bench = Bench::active(settings());
    bench.api = None;
    bench.pass(6_100);
    bench.api = Some(Owner::Us);
    bench.happen(Event::Answer(Answer::Described(Owner::Nobody)));
    assert!(bench.associated());
}

#[test]
fn an_active_host_that_hears_nobody_and_finds_the_address_elsewhere_steps_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.api = Some(Owner::Other);
    // The silence is noticed, the next look is 300 ms away at the most, and there are two of them.
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
    assert!(bench.did(Action::Say(Word::Ask)), "its priority counts");
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
fn a_host_that_stepped_back_for_want_of_news_keeps_its_addresses() {
    let mut bench = Bench::active_with_standby(settings());
    bench.cut();
    bench.api = None;
    bench.pass(5000);
    assert!(bench.did(Action::Became(State::Backup, Cause::SteppedBack)));
    assert!(!bench.did(Action::Addresses { here: false }));
    // Then it is told that they are another's.
    bench.happen(Event::Answer(Answer::Described(Owner::Other)));
    assert!(bench.did(Action::Addresses { here: false }));
}

#[test]
fn a_host_in_fault_or_stopped_keeps_no_addresses() {
    for end in [
        Event::Stop,
        Event::Standing(Standing {
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
fn without_the_api_a_host_that_hears_its_standby_stays_active() {
    let mut bench = Bench::active_with_standby(settings());
    bench.api = None;
    bench.pass(600_000);
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_hand_over_ends_requests_then_gives_the_role_then_serves_again() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    assert!(bench.did(Action::Hold(true)));
    assert_eq!(bench.state(), State::Master);
    bench.pass(1000);
    bench.happen(Event::Quiet);
    let said = bench
        .actions
        .iter()
        .position(|a| *a == Action::Say(Word::Yours));
    let goodbye = bench.actions.iter().position(|a| {
        *a == Action::Advert {
            priority: 0,
            interval: INTERVAL,
        }
    });
    assert!(said.expect("offers") < goodbye.expect("says goodbye"));
    assert!(bench.did(Action::Became(State::Backup, Cause::HandOver)));
    assert_eq!(bench.outcomes(), []);
    bench.peer = Some(Heartbeat {
        has_address: false,
        ..master(90)
    });
    bench.pass(1000);
    assert!(
        !bench.did(Action::Hold(false)),
        "it has not got the address"
    );
    bench.peer = Some(master(90));
    bench.pass(200);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Ok(())]);
}

#[test]
fn a_hand_over_does_not_wait_for_requests_longer_than_they_may_take() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.pass(4999);
    assert_eq!(bench.state(), State::Master);
    bench.pass(1);
    assert_eq!(bench.state(), State::Backup);
}

#[test]
fn a_host_that_was_told_to_hand_over_does_not_ask_for_the_role_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.peer = Some(master(90));
    bench.pass(3_600_000);
    assert!(!bench.did(Action::Say(Word::Ask)));
    assert_eq!(bench.state(), State::Backup);
    // Until it was active again.
    bench.cut();
    bench.pass(1000);
    assert_eq!(bench.state(), State::Master);
    bench.peer = Some(master(120));
    bench.next_beat = bench.now;
    bench.pass(500);
    bench.peer = Some(master(90));
    bench.pass(500);
    assert!(bench.did(Action::Say(Word::Ask)));
}

#[test]
fn what_cannot_be_handed_over_is_refused_with_the_reason() {
    let order = Event::HandOver(Reason::Operator);
    let refusal = |bench: &mut Bench| {
        bench.happen(order);
        assert!(!bench.did(Action::Hold(true)));
        bench.outcomes()
    };
    let mut standby_host = Bench::standby(settings(), master(110));
    assert_eq!(refusal(&mut standby_host), [Err(Refusal::NotActive)]);
    let mut alone = Bench::active(settings());
    assert_eq!(refusal(&mut alone), [Err(Refusal::NoPeer)]);
    let mut fresh = Bench::active_with_standby(settings());
    fresh.peer = Some(Heartbeat {
        ready: false,
        ..standby(90)
    });
    fresh.pass(200);
    assert_eq!(refusal(&mut fresh), [Err(Refusal::PeerNotReady)]);
    let mut busy = Bench::active_with_standby(settings());
    busy.happen(order);
    busy.happen(order);
    assert_eq!(busy.outcomes(), [Err(Refusal::UnderWay)]);
}

#[test]
fn a_standby_that_falls_silent_before_it_is_its_turn_is_not_given_the_role() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.cut();
    bench.pass(1000);
    bench.happen(Event::Quiet);
    assert_eq!(bench.outcomes(), [Err(Refusal::NoPeer)]);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_role_that_is_declined_is_taken_back() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.say(Word::Decline);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Err(Refusal::PeerNotReady)]);
}

#[test]
fn an_agent_that_ends_takes_nothing_with_it() {
    for decline in [false, true] {
        let mut bench = Bench::active_with_standby(settings());
        bench.happen(Event::HandOver(Reason::Stop));
        bench.happen(Event::Quiet);
        bench.forget();
        bench.cut();
        if decline {
            bench.say(Word::Decline);
        }
        bench.pass(14_000);
        assert_eq!(bench.outcomes().is_empty(), !decline);
        assert!(decline || !bench.associated(), "it is about to end");
    }
}

#[test]
fn a_role_that_comes_back_before_the_address_moved_ends_the_first_hand_over() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Quiet);
    bench.say(Word::Yours);
    assert_eq!(bench.state(), State::Master);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), [Err(Refusal::NotTaken)]);
}

#[test]
fn an_order_to_end_overtakes_the_operators() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::HandOver(Reason::Stop));
    assert_eq!(bench.outcomes(), []);
    bench.happen(Event::Quiet);
    bench.peer = Some(master(90));
    bench.pass(200);
    assert_eq!(bench.outcomes(), [Ok(())]);
}

#[test]
fn a_host_that_returns_asks_for_the_role_when_it_is_ready() {
    let mut bench = Bench::new(settings());
    bench.happen(Event::Standing(Standing {
        synced: false,
        ..READY
    }));
    bench.link(master(90));
    bench.pass(5000);
    assert!(
        !bench.did(Action::Say(Word::Ask)),
        "it has not got the flows"
    );
    assert_eq!(bench.state(), State::Backup);
    bench.happen(Event::Standing(READY));
    bench.pass(200);
    assert!(bench.did(Action::Say(Word::Ask)));
    bench.say(Word::Yours);
    assert!(bench.did(Action::Became(State::Master, Cause::HandOver)));
    assert!(bench.associated());
}

#[test]
fn a_host_that_returns_waits_for_the_link_before_it_overrides_by_adverts() {
    let mut bench = Bench::new(settings());
    let start = bench.now;
    while bench.state() == State::Backup {
        bench.happen(advert(90));
        bench.pass(100);
        assert!(bench.now.since(start) < Duration::from_secs(32));
    }
    assert!(bench.now.since(start) >= Duration::from_secs(30));
}

#[test]
fn without_a_link_a_host_that_returns_overrides_at_once() {
    let mut bench = Bench::new(Settings {
        link: false,
        ..settings()
    });
    for _ in 0..4 {
        bench.happen(advert(90));
        bench.pass(100);
    }
    assert!(bench.did(Action::Became(State::Master, Cause::Preemption)));
}

#[test]
fn a_host_that_asked_in_vain_takes_over_by_its_priority() {
    let mut bench = Bench::standby(settings(), master(90));
    // The time that requests have, and five seconds.
    bench.pass(8000);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(3000);
    assert!(bench.did(Action::Became(State::Master, Cause::Preemption)));
}

#[test]
fn nobody_asks_who_must_not_preempt() {
    let mut polite = settings();
    polite.vrrp.preempt = false;
    let mut bench = Bench::standby(polite, master(90));
    bench.pass(60_000);
    assert!(!bench.did(Action::Say(Word::Ask)));
}

#[test]
fn nobody_asks_who_does_not_reach_the_api() {
    let mut bench = Bench::new(settings());
    bench.happen(Event::Standing(Standing {
        synced: false,
        ..READY
    }));
    bench.api = None;
    bench.link(master(90));
    bench.forget();
    bench.pass(18_500);
    assert!(bench.did(Action::Call(Call::Describe)));
    bench.happen(Event::Answer(Answer::Failed(
        Call::Describe,
        Failure::Other,
    )));
    bench.happen(Event::Standing(READY));
    bench.pass(5000);
    assert!(!bench.did(Action::Say(Word::Ask)));
    bench.happen(Event::Answer(Answer::Described(Owner::Other)));
    bench.pass(200);
    assert!(bench.did(Action::Say(Word::Ask)));
}

#[test]
fn an_asked_host_hands_over_and_owes_the_operator_nothing() {
    let mut bench = Bench::active_with_standby(settings());
    bench.say(Word::Ask);
    assert!(bench.did(Action::Hold(true)));
    bench.happen(Event::Quiet);
    bench.peer = Some(master(110));
    bench.pass(200);
    assert!(bench.did(Action::Hold(false)));
    assert_eq!(bench.outcomes(), []);
}

#[test]
fn who_cannot_take_the_role_declines_it() {
    let mut bench = Bench::standby(settings(), master(110));
    bench.happen(Event::Standing(Standing {
        fault: true,
        ..READY
    }));
    bench.say(Word::Yours);
    assert!(bench.did(Action::Say(Word::Decline)));
    assert_eq!(bench.state(), State::Fault);
}

#[test]
fn a_fault_gives_the_role_up_at_once() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::Standing(Standing {
        fault: true,
        ..READY
    }));
    assert!(bench.did(Action::Advert {
        priority: 0,
        interval: INTERVAL,
    }));
    assert!(bench.did(Action::Became(State::Fault, Cause::Fault)));
    assert!(bench.did(Action::Addresses { here: false }));
}

#[test]
fn an_agent_that_stops_says_goodbye_and_owes_no_hand_over() {
    let mut bench = Bench::active_with_standby(settings());
    bench.happen(Event::HandOver(Reason::Operator));
    bench.happen(Event::Stop);
    assert!(bench.did(Action::Advert {
        priority: 0,
        interval: INTERVAL,
    }));
    assert!(bench.did(Action::Became(State::Init, Cause::Stopped)));
    assert_eq!(bench.outcomes(), [Err(Refusal::Stopping)]);
    assert_eq!(bench.host.deadline(), None);
}

#[test]
fn a_move_that_the_other_host_tells_of_is_looked_at_at_once() {
    let mut bench = Bench::active_with_standby(settings());
    bench.say(Word::Heartbeat(Heartbeat {
        moves: 1,
        ..standby(90)
    }));
    assert!(bench.did(Action::Call(Call::Describe)));
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
