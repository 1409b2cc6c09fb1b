//! Tests of requests that are answered successfully.

use std::{
    io::{BufReader, Read as _, Write as _},
    thread,
    time::Duration,
};

use lb_common::backend::BackendState;

use crate::{
    backends::{Backend, header, ok, read_head},
    clients::{Client, TlsClient},
    site::{Site, wait_until},
};

#[test]
fn round_robin_gives_each_of_four_backends_a_quarter() {
    let backends = ["a", "b", "c", "d"].map(Backend::named);
    let site = Site::https(&backends.each_ref().map(|backend| backend.address));
    for _ in 0..20 {
        let mut client = TlsClient::tls(site.address);
        for _ in 0..50 {
            assert_eq!(client.get("/").status(), 200);
        }
    }
    for backend in &backends {
        let share = backend.requests();
        assert!((230..=270).contains(&share), "{share} of 1000");
    }
    wait_until("all are counted", || site.answered(200) == 1000);
}

#[test]
fn a_draining_or_down_backend_gets_no_request() {
    for state in [BackendState::Draining, BackendState::Down] {
        let backends = ["a", "b"].map(Backend::named);
        let site = Site::https(&backends.each_ref().map(|backend| backend.address));
        let mut client = TlsClient::tls(site.address);
        for _ in 0..10 {
            client.get("/");
        }
        site.set(0, state);
        let before = backends[0].requests();
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "b");
        }
        assert_eq!(backends[0].requests(), before);
        site.set(0, BackendState::Up);
        let texts: Vec<_> = (0..4).map(|_| client.get("/").text()).collect();
        assert!(texts.contains(&"a".to_owned()), "{texts:?}");
    }
}

#[test]
fn a_request_under_way_on_a_draining_backend_finishes() {
    let backend = Backend::answering(|_| {
        thread::sleep(Duration::from_millis(300));
        ok(b"slow")
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_until("the request is under way", || backend.requests() == 1);
    site.set(0, BackendState::Draining);
    assert_eq!(client.response().text(), "slow");
    assert_eq!(client.get("/").status(), 503);
}

#[test]
fn the_backend_sees_where_a_request_came_from() {
    let backend = Backend::answering(|seen| ok(seen.head.as_bytes()));
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(
        "GET /x HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 8.8.8.8\r\n\
         Connection: keep-alive, X-Drop\r\nX-Drop: 1\r\n\r\n",
    );
    let seen = client.response().text();
    assert_eq!(header(&seen, "Host"), Some("shop.example"));
    assert_eq!(header(&seen, "X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(header(&seen, "X-Forwarded-Proto"), Some("https"));
    assert_eq!(header(&seen, "X-Forwarded-Host"), Some("shop.example"));
    assert_eq!(header(&seen, "X-Drop"), None);
    assert_eq!(header(&seen, "Connection"), None);
}

#[test]
fn plain_http_is_served_and_a_trusted_proxy_believed() {
    let backend = Backend::answering(|seen| ok(seen.head.as_bytes()));
    let site = Site::plain(&[backend.address], |limits| {
        limits.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    });
    let mut client = Client::plain(site.address);
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\n\r\n",
    );
    let seen = client.response().text();
    assert_eq!(header(&seen, "X-Forwarded-For"), Some("8.8.8.8, 127.0.0.1"));
    assert_eq!(header(&seen, "X-Forwarded-Proto"), Some("https"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::answering(|seen| {
        let path = seen.head.split(' ').nth(1).unwrap_or_default().to_owned();
        ok(&[path.as_bytes(), b" ", &seen.body].concat())
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\r\n\
         POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\nX: y\r\n\r\n\
         GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for wanted in ["/1 one", "/2 two", "/3 "] {
        assert_eq!(client.response().text(), wanted);
    }
}

#[test]
fn bytes_that_arrive_one_by_one_make_the_same_request() {
    let backend = Backend::answering(|seen| ok(&seen.body));
    let site = Site::plain(&[backend.address], |_| {});
    let mut client = Client::plain(site.address);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "abcde");
}

#[test]
fn head_and_bodyless_statuses_keep_the_connection_in_step() {
    let backend = Backend::answering(|seen| {
        if seen.head.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec()
        } else if seen.head.contains("/304") {
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_vec()
        } else if seen.head.contains("/204") {
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        } else {
            ok(b"whole")
        }
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(header(&client.head(), "Content-Length"), Some("5"));
    client.send("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 304 "));
    client.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 204 "));
    assert_eq!(client.get("/").text(), "whole");
}

#[test]
fn an_http_1_0_client_gets_what_it_understands() {
    let backend = Backend::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = client.head();
    assert_eq!(header(&head, "Connection"), Some("close"), "{head}");
    assert_eq!(header(&head, "Transfer-Encoding"), None);
    assert_eq!(client.rest(), b"abc");
}

#[test]
fn a_response_that_ends_with_its_connection_is_passed_on_whole() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let _done = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello ");
        thread::sleep(Duration::from_millis(50));
        let _done = stream.write_all(b"world");
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "hello world");
    }
}

#[test]
fn a_client_that_waits_for_continue_is_told_by_the_backend() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        let head = read_head(&mut reader).expect("a head");
        assert_eq!(header(&head, "Expect"), Some("100-continue"));
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .expect("sent");
        let mut body = [0; 4];
        reader.read_exact(&mut body).expect("a body");
        stream.write_all(&ok(&body)).expect("sent");
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    assert_eq!(client.response().text(), "body");
}

const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn bytes_after_an_upgrade_wait_for_the_backend_s_consent() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        let head = read_head(&mut reader).expect("a head");
        assert_eq!(header(&head, "Upgrade"), Some("websocket"));
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a time-out");
        let early = reader.read(&mut [0; 16]);
        let text: &[u8] = if early.is_err() { b"quiet" } else { b"early" };
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .expect("sent");
        stream.write_all(text).expect("sent");
        stream.set_read_timeout(None).expect("no time-out");
        let mut frame = [0; 5];
        while reader.read_exact(&mut frame).is_ok() {
            stream.write_all(&frame).expect("sent");
        }
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(format!("{UPGRADE}frame"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "Upgrade"), Some("websocket"));
    assert_eq!(client.bytes(10), b"quietframe");
    client.send("again");
    assert_eq!(client.bytes(5), b"again");
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let backend =
        Backend::answering(|seen| ok(seen.head.split(' ').nth(1).unwrap_or("").as_bytes()));
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().text(), "/chat");
    assert_eq!(client.response().text(), "/next");
}

#[test]
fn counters_say_what_happened() {
    let backend = Backend::named("a");
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    for _ in 0..3 {
        client.get("/");
    }
    wait_until("all are counted", || site.answered(200) == 3);
    let counters = site.proxy().counters();
    let request = &counters.requests[0];
    assert_eq!(
        request
            .backend
            .as_ref()
            .map(|(_pool, backend)| backend.as_str()),
        Some("web1")
    );
    assert_eq!((request.code, request.count), (200, 3));
    assert_eq!(counters.durations[0].1.buckets.iter().sum::<u64>(), 3);
    assert_eq!(counters.open_connections[0].1, 1);
    assert_eq!(counters.backend_connections[0].in_use, 0);
    drop(client);
    wait_until("the connection is closed", || {
        site.proxy().counters().open_connections[0].1 == 0
    });
}
