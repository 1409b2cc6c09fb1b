mod handing_over;
mod resuming;
mod stepping_back;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    elastic::{Call, Failure},
    vrrp::{self, Version},
};

const INTERVAL: Duration = Duration::from_millis(100);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const READY: LocalHealth = LocalHealth {
    weight: 0,
    fault: false,
    checked: true,
    synced: true,
    hindered: false,
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

/// A host under test, a peer that sends heartbeats, and an EC2 API that answers immediately.
struct Bench {
    host: Host,
    now: Time,
    /// The owner of the Elastic IP that the EC2 API reports; `None` if that API does not answer,
    /// and calls stay in flight.
    api: Option<Owner>,
    /// The heartbeat that the peer sends at every interval from now on; `None` if it is silent.
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
        bench.happen(Event::LocalHealth(READY));
        bench
    }

    /// Creates a host that heard no peer and is active, with the Elastic IP.
    fn active(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.api = Some(Owner::Us);
        bench.pass(1000);
        assert_eq!(bench.host.state(), State::Master);
        assert!(bench.host.view(bench.now).has_address);
        bench.forget();
        bench
    }

    /// Creates an active host with the Elastic IP, and a standby that it hears over the link
    /// between the two agents.
    fn active_with_standby(settings: Settings) -> Self {
        let mut bench = Self::active(settings);
        bench.link(standby(90));
        bench.pass(300);
        bench.forget();
        bench
    }

    /// Creates a standby that hears an active host over the link between the two agents.
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

    fn send(&mut self, message: PairMessage) {
        self.happen(Event::PairMessage(message));
    }

    /// Lets this many milliseconds pass: timers fire, and the peer sends its heartbeats.
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
                    self.send(PairMessage::Heartbeat(beat));
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
    bench.happen(Event::LocalHealth(LocalHealth::default()));
    bench.pass(9_990);
    assert_eq!(bench.state(), State::Backup);
    bench.pass(10);
    assert_eq!(bench.state(), State::Master);

    let mut bench = Bench::new(settings());
    bench.happen(Event::LocalHealth(LocalHealth::default()));
    bench.pass(2000);
    bench.happen(Event::LocalHealth(READY));
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
fn an_address_that_nobody_has_is_taken_at_the_first_look() {
    let mut bench = Bench::active(settings());
    bench.api = None;
    bench.pass(6_100);
    bench.api = Some(Owner::Us);
    bench.happen(Event::Answer(Answer::Described(Owner::Nobody)));
    assert!(bench.associated());
}

#[test]
fn without_the_api_a_host_that_hears_its_standby_stays_active() {
    let mut bench = Bench::active_with_standby(settings());
    bench.api = None;
    bench.pass(600_000);
    assert_eq!(bench.state(), State::Master);
}

#[test]
fn a_move_that_the_peer_reports_is_looked_up_immediately() {
    let mut bench = Bench::active_with_standby(settings());
    bench.send(PairMessage::Heartbeat(Heartbeat {
        moves: 1,
        ..standby(90)
    }));
    assert!(bench.did(Action::Call(Call::Describe)));
}
