//! Tests of what the front records for `lb errors` about requests and connections that ended early.

use std::{
    io::{BufReader, Write as _},
    thread,
    time::Duration,
};

use lb::proxy::Reason;

use crate::{
    backends::{Backend, read_head},
    clients::{Client, TlsClient},
    raw_http2::{self, FrameClient},
    site::{Site, name, wait_until},
};

#[test]
fn a_request_that_is_refused_is_kept_with_its_bytes() {
    let site = Site::https(&[Backend::named("a").address]);
    let mut client = TlsClient::tls(site.address);
    assert_eq!(client.get("/").status(), 200);
    let refused = "GET /a HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n";
    client.send(refused);
    assert_eq!(client.response().status(), 400);
    let entry = site.ended_early(Reason::ClientHeadHeaderLine);
    assert_eq!(entry.offending, refused.as_bytes());
    assert_eq!((entry.status, entry.attempts), (400, 0));
    assert_eq!(entry.backend, None);
    assert_eq!(entry.client.ip().to_string(), "127.0.0.1");
}

#[test]
fn a_malformed_body_is_kept_with_the_place_where_it_breaks() {
    let site = Site::plain(&[Backend::named("a").address], |_| {});
    let mut client = Client::plain(site.address);
    client.send(
        "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nno size\r\n",
    );
    assert_eq!(client.response().status(), 400);
    let entry = site.ended_early(Reason::ClientRequestBodyChunk);
    assert_eq!(entry.offending, b"\r\nno size\r\n");
    assert_eq!(entry.request, b"POST /up HTTP/1.1\r\nHost: a");
}

#[test]
fn a_response_that_is_none_is_kept_with_its_backend() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let _sent = stream.write_all(&b"SSH-2.0-x\n".repeat(100));
    });
    let site = Site::https(&[Backend::absent(), backend.address]);
    let answer = FrameClient::connect(site.address).ask(&raw_http2::get(&[]), None);
    assert_eq!(answer.status, 502);
    let entry = site.ended_early(Reason::BackendResponseHeadMalformed);
    assert_eq!(entry.backend, Some(name("web2")));
    assert_eq!((entry.status, entry.attempts), (502, 2));
    assert!(entry.offending.starts_with(b"SSH-2.0-x\nSSH"), "{entry:?}");
    assert_eq!(entry.offending.len(), 512, "it is bounded");
    assert_eq!(entry.request, b"GET / HTTP/1.1\r\nHost: localhost");
    assert!(entry.after.is_some());
}

#[test]
fn a_handshake_that_fails_is_kept_with_its_first_bytes() {
    let site = Site::https(&[Backend::named("a").address]);
    let mut client = Client::plain(site.address);
    client.send("GET / HTTP/1.1\r\nHost: plain\r\n\r\n");
    client.rest_of_any_kind();
    wait_until("it is kept", || !site.proxy().ended_early().is_empty());
    let entry = site.ended_early(Reason::ClientHandshakeMalformed);
    assert_eq!(entry.offending, b"GET / HTTP/1.1\r\nHost: plain\r\n\r\n");
    assert_eq!((entry.status, entry.after), (0, None));
}

#[test]
fn what_is_ordinary_is_not_kept() {
    let site = Site::plain(&[Backend::named("a").address], |limits| {
        limits.timeouts.keep_alive = Duration::from_millis(50);
    });
    let mut client = Client::plain(site.address);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.rest(), b"");
    assert_eq!(site.closed(Reason::ClientKeepAliveTimeout), 1);
    assert_eq!(site.proxy().ended_early(), []);
}

#[test]
fn a_reload_changes_how_many_are_kept() {
    let mut site = Site::plain(&[Backend::absent()], |_| {});
    let ask = |site: &Site, path: &str| {
        assert_eq!(Client::plain(site.address).get(path).status(), 502);
    };
    (0..5).for_each(|number| ask(&site, &format!("/{number}")));
    assert_eq!(site.proxy().ended_early().len(), 5);
    site.log.errors = 2;
    site.apply(site.service.clone()).expect("applied");
    ask(&site, "/5");
    let kept = site.proxy().ended_early();
    let requests: Vec<_> = kept.iter().map(|entry| entry.request[5]).collect();
    assert_eq!(requests, b"45", "the oldest first");
}

#[test]
fn many_may_end_early_at_once() {
    let site = Site::plain(&[Backend::absent()], |_| {});
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(Client::plain(site.address).get("/").status(), 502);
                }
            });
        }
    });
    assert_eq!(site.proxy().ended_early().len(), 256);
}
