//! The simulated world of the tests: two hosts, the link between them, and an ACME directory.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{super::*, SECOND};
use crate::acme::{CertificateId, MOST_ORDERS_AN_HOUR};

pub(super) fn day(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * 20_000 + DAY * u32::try_from(days).unwrap_or(0)
}

/// The messages between the simulated hosts, as far as they concern orders.
#[derive(Clone, Debug)]
enum Message {
    State {
        certificate: Option<CertificateId>,
        record: OrderRecord,
        under_way: Option<Duration>,
    },
    Claim(u64),
    Claimed(u64, Option<Duration>),
}

#[derive(Debug)]
pub(super) struct Host {
    seed: u64,
    pub(super) renewal: Renewal,
    pub(super) certificate: Option<CertificateId>,
    /// When this host's order in flight ends; `None` if there is none.
    pub(super) order: Option<SystemTime>,
    role: HostRole,
    /// When the host's state machine of the renewal is called next.
    pub(super) wakes: SystemTime,
    pub(super) expired: Duration,
}

/// An event in the simulated world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The host with this index becomes active, and the other one standby.
    Active(usize),
    /// Both hosts become active (true), or neither is (false).
    Actives(bool),
    Link(bool),
    Restart(usize),
    Directory(Directory),
    /// An operator of the host with this index requests a certificate.
    Request(usize),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Directory {
    Works,
    Down,
    Refuses,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: SystemTime,
    pub(super) hosts: [Host; 2],
    link: bool,
    /// The messages in flight: when each arrives, the index of its receiver, and the message.
    under_way: VecDeque<(SystemTime, usize, Message)>,
    delay: Duration,
    directory: Directory,
    order_takes: Duration,
    lifetime: Duration,
    pub(super) began: Vec<SystemTime>,
    issued: u64,
    claims: u64,
}

impl World {
    pub(super) fn new(
        seed: u64,
        delay: Duration,
        order_takes: Duration,
        lifetime: Duration,
    ) -> Self {
        let host = |seed| Host {
            seed,
            renewal: Renewal::new(seed, None, OrderRecord::default())
                .in_pair(HostRole::Standby, day(0)),
            certificate: None,
            order: None,
            role: HostRole::Standby,
            wakes: day(0),
            expired: Duration::ZERO,
        };
        let mut world = Self {
            now: day(0),
            hosts: [host(seed), host(!seed)],
            link: false,
            under_way: VecDeque::new(),
            delay,
            directory: Directory::Works,
            order_takes,
            lifetime,
            began: Vec::new(),
            issued: 0,
            claims: 0,
        };
        world.happens(Happening::Active(0));
        world.happens(Happening::Link(true));
        world
    }

    pub(super) fn happens(&mut self, what: Happening) {
        match what {
            Happening::Active(host) => {
                self.set_role(1 - host, HostRole::Standby);
                self.set_role(host, HostRole::Active);
            }
            Happening::Actives(both) => {
                let role = if both {
                    HostRole::Active
                } else {
                    HostRole::Standby
                };
                self.set_role(0, role);
                self.set_role(1, role);
            }
            Happening::Link(up) => self.set_link(up),
            Happening::Restart(index) => {
                let link = self.link;
                self.set_link(false);
                let (role, now) = (self.hosts[index].role, self.now);
                let host = &mut self.hosts[index];
                let certificate = host.renewal.certificate;
                let record = host.renewal.record().clone();
                host.renewal =
                    Renewal::new(host.seed, certificate, record).in_pair(HostRole::Standby, now);
                // The order is lost when the agent ends; the directory may still complete it.
                host.order = None;
                self.set_role(index, role);
                if link {
                    self.set_link(true);
                }
            }
            Happening::Directory(directory) => self.directory = directory,
            Happening::Request(host) => {
                let host = &mut self.hosts[host];
                if host.role == HostRole::Active && host.order.is_none() {
                    _ = host.renewal.request_now(self.now);
                    host.wakes = self.now;
                }
            }
        }
    }

    pub(super) fn set_role(&mut self, index: usize, role: HostRole) {
        let host = &mut self.hosts[index];
        host.role = role;
        host.renewal.order_lock().set_role(role);
        host.wakes = self.now;
        self.send_state(index);
    }

    fn set_link(&mut self, up: bool) {
        if up == self.link {
            return;
        }
        self.link = up;
        self.under_way.clear();
        for index in 0..2 {
            let host = &mut self.hosts[index];
            match up {
                true => host.renewal.order_lock().link_up(self.now),
                false => host.renewal.order_lock().link_down(self.now),
            }
            host.wakes = self.now;
        }
        self.send_state(0);
        self.send_state(1);
    }

    fn send_state(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let state = Message::State {
            certificate: host.certificate,
            record: host.renewal.record().clone(),
            under_way: host.renewal.order_lock().held_for(self.now),
        };
        self.send(index, state);
    }

    fn send(&mut self, from: usize, message: Message) {
        if self.link {
            self.under_way
                .push_back((self.now + self.delay, 1 - from, message));
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.under_way.front().map(|(at, ..)| *at);
            let wakes = self.hosts.iter().map(|host| match host.order {
                Some(ends) => ends,
                None => host.wakes,
            });
            let next = wakes.chain(arrival).min().unwrap_or(end).max(self.now);
            self.pass(next.min(end));
            if next >= end {
                return;
            }
            if arrival == Some(next) {
                if let Some((_, to, message)) = self.under_way.pop_front() {
                    self.deliver(to, message);
                }
                continue;
            }
            for index in 0..2 {
                match self.hosts[index].order {
                    Some(ends) if ends <= self.now => self.end_order(index),
                    None if self.hosts[index].wakes <= self.now => self.step(index),
                    _ => {}
                }
            }
        }
    }

    /// Lets time pass until `to`, and adds up how long each active host serves an expired
    /// certificate.
    fn pass(&mut self, to: SystemTime) {
        for host in &mut self.hosts {
            let ends = host.renewal.certificate.map(|one| one.not_after);
            if let (HostRole::Active, Some(ends)) = (host.role, ends) {
                host.expired += to.duration_since(ends.max(self.now)).unwrap_or_default();
            }
        }
        self.now = to;
    }

    fn step(&mut self, index: usize) {
        let now = self.now;
        let step = self.hosts[index].renewal.step(now);
        match step {
            Step::Wait(until) => {
                assert!(until > now, "a wait that is over");
                let look = now + DAY;
                self.hosts[index].wakes = until.min(look);
            }
            Step::AskForWindow => {
                self.hosts[index].renewal.asked_for_window(now, None, None);
            }
            Step::Claim => {
                self.claims += 1;
                // The claim's number is a hash of a counter, so that sometimes one host's claim has
                // the higher number and sometimes the other host's: the outcome must not depend on
                // that.
                let number = self.claims.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                self.hosts[index].renewal.order_lock().claimed(number, now);
                self.send(index, Message::Claim(number));
            }
            Step::Order => {
                let [host, other] = [&self.hosts[index], &self.hosts[1 - index]];
                assert_eq!(host.role, HostRole::Active, "a standby begins an order");
                assert!(
                    !(self.link && other.order.is_some()),
                    "two orders at once while the link stands"
                );
                self.began.push(now);
                let ends = now + self.order_takes;
                let host = &mut self.hosts[index];
                host.renewal.began(now);
                host.order = Some(ends);
                self.send_state(index);
            }
        }
    }

    fn end_order(&mut self, index: usize) {
        let outcome = match self.directory {
            Directory::Works => OrderOutcome::Issued(Validity {
                not_before: self.now - HOUR,
                not_after: self.now + self.lifetime,
            }),
            Directory::Down => OrderOutcome::Unreachable { retry_after: None },
            Directory::Refuses => OrderOutcome::Refused { retry_after: None },
        };
        let host = &mut self.hosts[index];
        host.order = None;
        host.renewal.ended(outcome);
        host.wakes = self.now;
        if let OrderOutcome::Issued(validity) = outcome {
            self.issued += 1;
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&self.issued.to_be_bytes());
            host.certificate = Some(CertificateId {
                not_before: to_unix(validity.not_before),
                not_after: to_unix(validity.not_after),
                fingerprint,
            });
        }
        self.send_state(index);
    }

    fn deliver(&mut self, index: usize, message: Message) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if host.order.is_none() {
            host.wakes = now;
        }
        match message {
            Message::Claim(number) => {
                let refused = host.renewal.peer_claims(number, now).err();
                self.send(index, Message::Claimed(number, refused));
            }
            Message::Claimed(number, refused) => {
                if !host.renewal.order_lock().answered(number, refused, now) {
                    self.send_state(index);
                }
            }
            Message::State {
                certificate,
                record,
                under_way,
            } => {
                host.renewal.order_lock().peer_message_received();
                host.renewal
                    .order_lock()
                    .peer_order_reported(under_way, now);
                let newer = certificate.filter(|theirs| host.certificate < Some(*theirs));
                if let Some(theirs) = newer {
                    host.certificate = Some(theirs);
                    host.renewal.certificate_installed(Validity {
                        not_before: from_unix(theirs.not_before),
                        not_after: from_unix(theirs.not_after),
                    });
                }
                let same = certificate == host.certificate;
                host.renewal.merge_peer_record(&record, same, now);
                if newer.is_some() {
                    self.send_state(index);
                }
            }
        }
    }

    /// Asserts that the orders of both hosts together kept to the hourly limit.
    pub(super) fn assert_limit(&self) {
        for window in self.began.windows(MOST_ORDERS_AN_HOUR + 1) {
            let [first, .., last] = window else {
                continue;
            };
            let span = last.duration_since(*first).expect("in order");
            // Orders are recorded in whole seconds, at the time of the claim of the order lock, so
            // the time between the recorded orders may be up to two seconds too short.
            assert!(
                span + 2 * SECOND >= HOUR,
                "{MOST_ORDERS_AN_HOUR} and one in {span:?}"
            );
        }
    }
}

pub(super) fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..2_usize).prop_map(Happening::Active),
        1 => any::<bool>().prop_map(Happening::Actives),
        3 => any::<bool>().prop_map(Happening::Link),
        2 => (0..2_usize).prop_map(Happening::Restart),
        1 => prop_oneof![
            Just(Directory::Works),
            Just(Directory::Down),
            Just(Directory::Refuses)
        ]
        .prop_map(Happening::Directory),
        2 => (0..2_usize).prop_map(Happening::Request),
    ]
}

/// Returns a strategy for pauses between two events, from milliseconds to weeks.
pub(super) fn pause() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..2_000_u64).prop_map(Duration::from_millis),
        (1..600_u64).prop_map(Duration::from_secs),
        (1..300_u64).prop_map(|minutes| Duration::from_secs(60 * minutes)),
        (1..30_u64).prop_map(|days| Duration::from_secs(86_400 * days)),
    ]
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let delay = (1..900_u64).prop_map(Duration::from_millis);
    let order_takes = (1..300_u64).prop_map(Duration::from_secs);
    let lifetime = prop_oneof![Just(6_u32), Just(45), Just(90)].prop_map(|days| DAY * days);
    (any::<u64>(), delay, order_takes, lifetime)
        .prop_map(|(seed, delay, takes, lifetime)| World::new(seed, delay, takes, lifetime))
}
