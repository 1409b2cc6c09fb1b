//! Tests of the reasons why requests, handshakes and connections end early: each end is counted
//! under its reason, and every request exactly once.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    sync::Arc,
    thread,
    time::Duration,
};

use lb::proxy::Reason;
use lb_common::backend::BackendState;
use rustls::{ClientConfig, RootCertStore};

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient, client_config},
    raw_http2::{self, FrameClient, RST_STREAM, frame},
    site::{Site, name, wait_until},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Returns a backend that reads the head of a request, answers with `answer`, and closes the
/// connection.
fn saying(answer: &'static [u8]) -> Backend {
    Backend::raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let _sent = stream.write_all(answer);
    })
}

/// Returns three numbers: of completed requests, of aborted requests, and of all requests whose
/// duration was recorded.
fn ended(site: &Site) -> (u64, u64, u64) {
    let counters = site.proxy().counters();
    let answered = counters.requests.iter().map(|count| count.count).sum();
    let broken = counters.broken.iter().map(|count| count.count).sum();
    let durations = counters.durations.iter();
    let all = durations.flat_map(|(_, durations)| durations.buckets).sum();
    (answered, broken, all)
}

#[test]
fn an_answer_in_place_of_a_backends_has_a_reason() {
    let long = [
        b"HTTP/1.1 200 OK\r\nX: ".to_vec(),
        vec![b'x'; 20_000],
        b"\r\n\r\n".to_vec(),
    ];
    let long: &'static [u8] = long.concat().leak();
    for (answer, reason) in [
        (&b""[..], Reason::BackendResponseHeadClosed),
        (b"SSH-2.0-x\r\n\r\n", Reason::BackendResponseHeadMalformed),
        (b"HTTP/1.1 200 OK\n\n", Reason::BackendResponseHeadMalformed),
        (
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            Reason::BackendResponseHeadMalformed,
        ),
        (b"HTTP/1.1 200 O", Reason::BackendResponseHeadIncomplete),
        (long, Reason::BackendResponseHeadTooLarge),
    ] {
        let site = Site::plain(&[saying(answer).address], |_| {});
        let mut client = Client::plain(site.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().status(), 502, "{reason:?}");
        assert_eq!(site.answered_by_us(reason), 1, "{reason:?}");
        let own = site.proxy().counters().own_answers;
        assert_eq!(own[0].backend, Some((name("pool"), name("web1"))));
        assert_eq!(ended(&site), (1, 0, 1), "{reason:?}");
    }
}

#[test]
fn a_request_that_reached_no_backend_says_why() {
    let site = Site::plain(&[Backend::absent()], |_| {});
    assert_eq!(Client::plain(site.address).get("/").status(), 502);
    assert_eq!(site.answered_by_us(Reason::BackendConnectRefused), 1);
    site.set(0, BackendState::Down);
    assert_eq!(Client::plain(site.address).get("/").status(), 503);
    assert_eq!(site.answered_by_us(Reason::LbQueueNoBackend), 1);
    assert_eq!(ended(&site), (2, 0, 2));
}

#[test]
fn a_client_that_leaves_is_counted_by_how_far_it_was() {
    let backend = Backend::slow("late", Duration::from_secs(30));
    let site = Site::plain(&[backend.address], |_| {});
    let leave_after = |bytes: &str| Client::plain(site.address).send(bytes);
    leave_after("GET / HTTP/1.1\r\nHo");
    wait_until("the head is given up", || {
        site.closed(Reason::ClientHeadClosed) == 1
    });
    assert_eq!(ended(&site), (0, 0, 0), "that was no request yet");
    leave_after("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    wait_until("the body is given up", || {
        site.broken(Reason::ClientRequestBodyClosed) == 1
    });
    leave_after(GET);
    wait_until("the response is given up", || {
        site.broken(Reason::ClientResponseHeadClosed) == 1
    });
    assert_eq!(ended(&site), (0, 2, 2));
}

#[test]
fn a_request_that_is_taken_back_is_counted_for_its_backend() {
    let backend = Backend::slow("late", Duration::from_secs(30));
    let site = Site::https(&[backend.address]);
    let mut client = FrameClient::connect(site.address);
    let (stream, request) = client.request(&raw_http2::get(&[]), None);
    client.tls.send(request);
    wait_until("the backend has it", || backend.requests() == 1);
    let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    client.tls.send(cancel);
    let reason = Reason::ClientResponseHeadCancelled;
    wait_until("it is counted", || site.broken(reason) == 1);
    let broken = site.proxy().counters().broken;
    assert_eq!(broken[0].backend, Some((name("pool"), name("web1"))));
    let (_, request) = client.request(&raw_http2::get(&[]), None);
    client.tls.send(request);
    wait_until("the backend has the next", || backend.requests() == 2);
    drop(client);
    wait_until("that is counted", || {
        site.broken(Reason::ClientResponseHeadClosed) == 1
    });
    assert_eq!(ended(&site), (0, 2, 2));
}

#[test]
fn a_malformed_field_over_http2_is_a_request_that_ended() {
    let site = Site::https(&[Backend::named("a").address]);
    let mut client = FrameClient::connect(site.address);
    let answer = client.ask(&raw_http2::get(&[("x", b"a\0b")]), None);
    assert!(answer.reset.is_some(), "{answer:?}");
    assert_eq!(site.broken(Reason::ClientHeadHeaderLine), 1);
    assert_eq!(ended(&site), (0, 1, 1));
}

#[test]
fn a_client_that_breaks_http2_itself_is_counted() {
    let site = Site::https(&[Backend::named("a").address]);
    let mut client = FrameClient::connect(site.address);
    // A DATA frame on stream 0 is an error of the whole connection (RFC 9113 §6.1).
    client.tls.send(frame(raw_http2::DATA, 0, 0, b"x"));
    wait_until("it is counted", || {
        site.closed(Reason::ClientHeadHttp2) == 1
    });
}

#[test]
fn a_handshake_that_fails_says_why() {
    let site = Site::https(&[Backend::named("a").address]);
    let shake = |config: ClientConfig| {
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let mut session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut tcp = TcpStream::connect(site.address).expect("connected");
        while session.is_handshaking() {
            if session.complete_io(&mut tcp).is_err() {
                return;
            }
        }
        panic!("it succeeded");
    };
    let mut nonsense = client_config(&rustls::version::TLS13);
    nonsense.alpn_protocols = vec![b"nonsense".to_vec()];
    shake(nonsense);
    wait_until("the one without a common protocol is counted", || {
        site.failed_handshakes(Reason::ClientHandshakeIncompatible) == 1
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusting_nobody = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    shake(trusting_nobody);
    wait_until("the one that trusts nobody is counted", || {
        site.failed_handshakes(Reason::ClientHandshakeAlert) == 1
    });
}

#[test]
fn a_response_that_the_backend_breaks_off_is_counted_once() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let response = ok(b"0123456789");
        let _sent = stream.write_all(&response[..response.len() - 5]);
        thread::sleep(Duration::from_millis(50));
    });
    let site = Site::https(&[backend.address]);
    let mut client = TlsClient::tls(site.address);
    client.send(GET);
    client.rest_of_any_kind();
    wait_until("it is counted", || {
        site.broken(Reason::BackendResponseBodyClosed) == 1
    });
    assert_eq!(ended(&site), (0, 1, 1));
}
