//! Tests with two links in one process, on loopback addresses that no other test uses.

mod attacks;
mod dead;
mod load;
mod versions;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::AtomicU8,
};

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::tickets;

/// How long a test waits for an event that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 9146;
/// Settings with a long time-out, so that a busy machine is not taken for a dead peer.
const CALM: Rhythm = Rhythm {
    ping: Duration::from_millis(100),
    silence: Duration::from_secs(5),
};

/// A set of loopback addresses that no other test uses, in this process or another.
#[derive(Clone, Copy)]
struct Net {
    process: [u8; 2],
    number: u8,
}

impl Net {
    fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let [high, low, ..] = std::process::id().to_be_bytes()[2..] else {
            panic!("a process id has four bytes");
        };
        Self {
            process: [high, low],
            number: NEXT.fetch_add(1, Relaxed),
        }
    }

    /// Returns the address of the host with this number, from 1 to 15; a greater number has a
    /// higher address.
    fn host(self, host: u8) -> IpAddr {
        let [high, low] = self.process;
        Ipv4Addr::new(127, high, low, (self.number % 16) * 16 + host).into()
    }
}

/// The numbers of the two hosts. `A` has the lower address, so it dials, and `B` accepts.
const A: u8 = 1;
const B: u8 = 2;

fn settings(net: Net, source: u8, peer: u8) -> Settings {
    Settings {
        source: SocketAddr::new(net.host(source), PORT),
        peer: SocketAddr::new(net.host(peer), PORT),
        check_source: true,
        hello: Hello {
            node: format!("lb-{source}"),
            version: "0.1.0".to_owned(),
            instance: u64::from(source),
        },
        rhythm: CALM,
        protocol: frame::PROTOCOL,
    }
}

fn secret() -> Secret {
    let folder = tempfile::tempdir().expect("a folder");
    Secret::create(&folder.path().join("peer.pem"), false).expect("made")
}

/// Two links with the same secret, between which a session is up.
struct Pair {
    a: Started,
    b: Started,
}

impl Pair {
    async fn new() -> Self {
        let net = Net::new();
        Self::with(settings(net, A, B), settings(net, B, A), &secret()).await
    }

    async fn with(a: Settings, b: Settings, secret: &Secret) -> Self {
        let mut pair = Self {
            b: Link::start_with(b, secret).expect("listening"),
            a: Link::start_with(a, secret).expect("dialling"),
        };
        pair.a.up().await;
        pair.b.up().await;
        pair
    }
}

impl Started {
    async fn event(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event in time").expect("the link runs")
    }

    async fn up(&mut self) -> PeerInfo {
        match self.event().await {
            Event::Up(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    async fn down(&mut self) -> DownReason {
        loop {
            match self.event().await {
                Event::Down(reason) => return reason,
                Event::PairMessage(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        let refused = self.link.view().refused;
        let mut refused = refused.into_iter().filter(|(one, _)| *one == refusal);
        refused.next().expect("all reasons are there").1
    }

    /// Returns the number of refused connections, of all reasons together.
    fn all_refused(&self) -> u64 {
        self.link
            .view()
            .refused
            .iter()
            .map(|(_, count)| count)
            .sum()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&View) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.link.view();
            if holds(&view) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain: {what}: {view:#?}"
            );
            sleep(Duration::from_millis(2)).await;
        }
    }
}

fn count(view: &View, refusal: Refusal) -> u64 {
    let refused = view.refused.iter().filter(|(one, _)| *one == refusal);
    refused.map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_with_one_secret_find_each_other_and_talk() {
    let net = Net::new();
    let secret = secret();
    let mut b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let mut a = Link::start_with(settings(net, A, B), &secret).expect("dialling");
    let seen = a.up().await;
    assert_eq!((seen.node.as_str(), seen.address), ("lb-2", net.host(B)));
    let seen = b.up().await;
    assert_eq!((seen.node.as_str(), seen.address), ("lb-1", net.host(A)));
    assert!(a.link.send_pair_message(PairMessage::Ask));
    assert!(b.link.send_pair_message(PairMessage::TakeOver));
    assert_eq!(b.event().await, Event::PairMessage(PairMessage::Ask));
    assert_eq!(a.event().await, Event::PairMessage(PairMessage::TakeOver));

    let keys = tickets::TicketKeys::new().expect("random numbers");
    let message = Message::Tickets(keys.link_up().expect("an offer"));
    assert!(a.link.send(&message));
    assert_eq!(b.event().await, Event::Message(message));

    let bulk = b.link.bulk().expect("up");
    let flows = vec![7; BULK_BYTES];
    bulk.send(flows.clone()).await.expect("sent");
    let chunk = a.flows.recv().await.expect("flows");
    assert_eq!((chunk.session, chunk.bytes), (1, flows));
    let too_long = bulk.send(vec![7; BULK_BYTES + 1]).await;
    assert_eq!(too_long, Err(BulkError::TooLong(BULK_BYTES + 1)));

    for (started, dials) in [(&a, true), (&b, false)] {
        started
            .until("a ping is answered", |view| {
                let connected = view.connected.as_ref();
                connected.is_some_and(|it| it.round_trip.is_some())
            })
            .await;
        let view = started.link.view();
        assert_eq!((view.dials, view.ups), (dials, 1));
        assert_eq!((started.all_refused(), view.problem), (0, None));
    }
    let (a, b) = (a.link.view(), b.link.view());
    assert!(b.sent.bytes > BULK_BYTES as u64 && a.received.bytes > BULK_BYTES as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_starts_again_is_found_again() {
    let net = Net::new();
    let secret = secret();
    let (ours, theirs) = (settings(net, A, B), settings(net, B, A));
    let Pair { mut a, b } = Pair::with(ours, theirs.clone(), &secret).await;
    let began = Instant::now();
    drop(b);
    assert!(matches!(
        a.down().await,
        DownReason::Closed | DownReason::Broken(_)
    ));
    assert!(
        began.elapsed() < CALM.silence,
        "an end that is said needs no silence"
    );
    assert!(
        !a.link.send_pair_message(PairMessage::Ask),
        "nobody is there"
    );
    assert!(a.link.bulk().is_none());
    a.until("nobody listens", |view| view.unreached > 0).await;
    let problem = a.link.view().problem.expect("a problem");
    assert!(problem.contains("check that lb runs there"), "{problem}");
    let mut b = Link::start_with(theirs, &secret).expect("listening again");
    assert_eq!(a.up().await.session, 2);
    assert_eq!(b.up().await.session, 1);
    assert_eq!(a.link.view().problem, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_of_flows_ends_with_its_connection() {
    let Pair { mut a, b } = Pair::new().await;
    let bulk = a.link.bulk().expect("up");
    drop(b);
    a.down().await;
    assert_eq!(bulk.send(vec![1]).await, Err(BulkError::Down));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_with_different_versions_of_the_link_report_the_difference() {
    let net = Net::new();
    let secret = secret();
    let mut newer = settings(net, A, B);
    newer.protocol = 2;
    let b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let a = Link::start_with(newer, &secret).expect("dialling");
    for (started, said) in [
        (&a, "version 1 of the link and this host version 2"),
        (&b, "version 2 of the link and this host version 1"),
    ] {
        started
            .until("a refusal", |view| count(view, Refusal::Version) > 0)
            .await;
        let problem = started.link.view().problem.expect("a problem");
        assert!(problem.contains(said), "{problem}");
        assert_eq!(started.link.view().ups, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_does_not_pair_with_itself() {
    let net = Net::new();
    let secret = secret();
    let mut same = settings(net, A, B);
    same.hello.instance = u64::from(B);
    let b = Link::start_with(settings(net, B, A), &secret).expect("listening");
    let a = Link::start_with(same, &secret).expect("dialling");
    for started in [&a, &b] {
        started
            .until("a refusal", |view| count(view, Refusal::Itself) > 0)
            .await;
        assert_eq!(started.link.view().ups, 0);
    }
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_fix() {
    let net = Net::new();
    let taken = std::net::TcpListener::bind((net.host(B), PORT)).expect("free");
    let error = Link::start_with(settings(net, B, A), &secret()).expect_err("taken");
    assert!(error.to_string().contains("ss -ltnp"), "{error}");
    drop(taken);
    let mut elsewhere = settings(net, B, A);
    elsewhere.source = "192.0.2.1:9146".parse().expect("an address");
    elsewhere.peer = "192.0.2.0:9146".parse().expect("an address");
    let error = Link::start_with(elsewhere, &secret()).expect_err("not here");
    assert!(error.to_string().contains("ha.source"), "{error}");
}
