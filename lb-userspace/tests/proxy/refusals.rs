//! Tests of requests that the front refuses before they reach a backend.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, header},
    clients::{Client, TlsClient},
    site::Site,
};

/// Requests that the front refuses, each with the status of the refusal.
pub(crate) const REFUSED: &[(&str, u16)] = &[
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("GET /\r\n\r\n", 400),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00", 400),
];

#[test]
fn ambiguous_requests_are_refused_and_the_connection_closed() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let requests: Vec<(&str, u16)> = REFUSED.iter().copied().chain([(&*long, 431)]).collect();
    for (request, status) in &requests {
        let mut client = TlsClient::tls(site.address);
        client.send(format!(
            "{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status(), *status, "{request:?}: {response:?}");
        let date = header(&response.head, "Date").expect("a date");
        assert!(date.ends_with(" GMT"), "{date}");
        assert_eq!(client.rest(), b"", "{request:?}");
    }
    assert_eq!(backend.requests(), 0);
    let refusals = site.proxy().counters().refusals;
    let refused: u64 = refusals.iter().map(|refusal| refusal.count).sum();
    assert_eq!(refused, requests.len() as u64);
}

#[test]
fn a_broken_chunk_ends_the_request_and_never_becomes_another_one() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\nxGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(client.response().status(), 400);
    assert!(client.has_ended());
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_head_that_takes_too_long_is_answered_408() {
    let backend = Backend::named("a");
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.head = Duration::from_millis(300);
    });
    let mut client = TlsClient::tls(site.address);
    let began = Instant::now();
    client.send("GET / HTTP/1.1\r\nHos");
    assert_eq!(client.response().status(), 408);
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert!(client.has_ended());
}

#[test]
fn a_body_that_pauses_too_long_is_answered_408() {
    let backend = Backend::named("a");
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.body = Duration::from_millis(200);
    });
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    assert_eq!(client.response().status(), 408);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let backend = Backend::named("a");
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.keep_alive = Duration::from_millis(200);
    });
    let mut client = TlsClient::tls(site.address);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_that_never_shakes_hands_is_dropped_and_counted() {
    let backend = Backend::named("a");
    let site = Site::with_limits(&[backend.address], |limits| {
        limits.timeouts.handshake = Duration::from_millis(200);
    });
    assert!(Client::plain(site.address).has_ended());
    let mut plain = Client::plain(site.address);
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    plain.bytes(7);
    assert!(plain.has_ended());
    crate::site::wait_until("both failures are counted", || {
        site.failed_handshakes(Reason::ClientHandshakeTimeout) == 1
            && site.failed_handshakes(Reason::ClientHandshakeMalformed) == 1
    });
}

#[test]
fn a_client_that_leaves_without_a_word_is_no_failed_handshake() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    for _ in 0..20 {
        let client = TcpStream::connect(site.address).expect("accepted");
        client.shutdown(Shutdown::Write).expect("ended");
        let mut rest = Vec::new();
        (&client)
            .read_to_end(&mut rest)
            .expect("ended from there too");
        assert_eq!(rest, b"");
    }
    // If a client sends only a part of its ClientHello and disconnects, its handshake counts as
    // failed.
    let mut client = TcpStream::connect(site.address).expect("accepted");
    client.write_all(&[22, 3]).expect("sent");
    drop(client);
    crate::site::wait_until("the one failure is counted", || {
        site.failed_handshakes(Reason::ClientHandshakeClosed) > 0
    });
    let failures = site.proxy().counters().handshake_failures;
    assert_eq!(failures.iter().map(|count| count.count).sum::<u64>(), 1);
}
