//! A test with mutated connections: clients and backends flip, insert, remove and cut bytes and
//! frames, with pauses, resets and half-closes. Afterwards the front must be in the same state as
//! before.
//!
//! `LB_MUTATED_CONNECTIONS` sets the number of connections, `LB_MUTATED_SEED` the seed.

mod backend;
mod bytes;
mod client;
mod frames;
mod front;

use std::{
    collections::VecDeque,
    env,
    io::{Read, Write},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use self::{
    backend::{HONEST, misbehaving},
    client::Clients,
    front::Front,
};
use crate::{
    clients::{Client, TlsClient},
    raw_http2::{FrameClient, get},
};

const CLIENTS: usize = 48;
/// Number of connections that each thread of clients leaves open at a time.
const LEFT_OPEN: usize = 6;
/// Limit of connections per client, low enough to show whether ended connections are still counted.
const LIMIT: usize = 100;
/// Time limit in which all connections must time out and the allocator must release memory.
const SOON: Duration = Duration::from_secs(30);

fn setting(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn mutated_connections_leave_nothing_behind() {
    let count = setting("LB_MUTATED_CONNECTIONS", 2_000);
    let seed = setting("LB_MUTATED_SEED", 1);
    let backends = [misbehaving(seed).address, misbehaving(!seed).address];
    let mut front = Front::start(&backends);
    let clients = Clients::new(seed, front.plain, front.tls);
    let warm_up = (count / 10).max(1_500);
    attack(&clients, 0..warm_up);
    settle(&mut front);
    honest(&clients);
    let before = settled_memory(&front);
    attack(&clients, warm_up..warm_up + count);
    let requests = settle(&mut front);
    // The number of requests with each outcome (answered, refused, aborted) must be more than a
    // fortieth of the number of connections.
    assert!(
        requests.iter().all(|some| *some > count / 40),
        "{requests:?}"
    );
    honest(&clients);
    no_lease_is_left(&mut front, &clients);
    let after = memory_within(&front, before + before / 5);
    println!(
        "{count} connections, seed {seed}: {requests:?} requests answered, refused, broken off; \
         {before} bytes before, {after} after"
    );
    let took = front.end();
    assert!(took < Duration::from_secs(3), "ended after {took:?}");
}

/// Runs the mutated client connections with these numbers, on several threads.
fn attack(clients: &Clients, numbers: std::ops::Range<u64>) {
    let next = AtomicU64::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut left = VecDeque::new();
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    left.extend(clients.run(number));
                    left.drain(..left.len().saturating_sub(LEFT_OPEN));
                }
            });
        }
    });
}

/// Waits until the front has no connection open or in use and buffers nothing, and asserts that
/// nothing panicked. Returns how many requests were answered, refused and aborted.
fn settle(front: &mut Front) -> [u64; 3] {
    let deadline = Instant::now() + SOON;
    loop {
        let gauges = front.gauges();
        assert_eq!(gauges.panics, 0);
        if gauges.are_zero() {
            return gauges.requests;
        }
        assert!(Instant::now() < deadline, "left over: {gauges:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends valid requests over each protocol, and checks that the responses are right.
fn honest(clients: &Clients) {
    let post = format!("POST {HONEST} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let mut plain = Client::plain(clients.plain);
    let mut tls = TlsClient::tls(clients.tls);
    let mut frames = FrameClient::connect(clients.tls);
    for _ in 0..20 {
        assert_eq!(plain.get(HONEST).status(), 200);
        assert_eq!(tls.get(HONEST).status(), 200);
        plain.send(&post);
        assert_eq!(plain.response().text(), "hello");
        tls.send(&post);
        assert_eq!(tls.response().text(), "hello");
        let mut fields = get(&[]);
        fields[3].1 = HONEST.as_bytes();
        assert_eq!(frames.ask(&fields, None).status, 200);
        fields[0].1 = b"POST";
        let answer = frames.ask(&fields, Some(b"hello"));
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    }
}

/// Checks that a client may have exactly as many connections as the limit says, so no connection
/// that has ended is still counted.
fn no_lease_is_left(front: &mut Front, clients: &Clients) {
    settle(front);
    front.limit(LIMIT);
    let plain: Vec<_> = (0..LIMIT).map(|_| Client::plain(clients.plain)).collect();
    answer_all(plain, || Client::plain(clients.plain).has_ended());
    let tls: Vec<_> = (0..LIMIT).map(|_| TlsClient::tls(clients.tls)).collect();
    answer_all(tls, || Client::plain(clients.tls).has_ended());
    settle(front);
}

/// Checks that each of these clients, which are as many as the limit allows, gets a response, and
/// that the next connection is closed, which `next_has_ended` reports.
fn answer_all<S: Read + Write>(mut all: Vec<Client<S>>, next_has_ended: impl Fn() -> bool) {
    for client in &mut all {
        assert_eq!(client.get(HONEST).status(), 200);
    }
    assert!(next_has_ended());
}

/// Waits until the front's memory stops shrinking, and returns its size in bytes.
fn settled_memory(front: &Front) -> u64 {
    let deadline = Instant::now() + SOON;
    let mut last = front.memory();
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = front.memory();
        if now + now / 50 >= last || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}

/// Waits until the front's memory is at most `most` bytes, and returns its size.
fn memory_within(front: &Front, most: u64) -> u64 {
    let deadline = Instant::now() + SOON;
    loop {
        let now = front.memory();
        if now <= most {
            return now;
        }
        assert!(
            Instant::now() < deadline,
            "{now} bytes in use, {most} allowed"
        );
        thread::sleep(Duration::from_millis(200));
    }
}
