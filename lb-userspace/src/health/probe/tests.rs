use std::time::Instant;

use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;

fn http(path: &str, expect: RangeInclusive<u16>) -> Check {
    check(CheckKind::Http {
        path: path.to_owned(),
        host: Some("example.org".to_owned()),
        expect,
    })
}

fn check(kind: CheckKind) -> Check {
    Check {
        kind,
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(300),
        rise: 2,
        fall: 3,
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Checks a backend that answers with `answer` and keeps the connection open. Returns the result of
/// the check, and the request that the backend received.
async fn probe_answered(check: Check, answer: &[u8]) -> (Result<(), Failure>, String) {
    let (listener, address) = listener().await;
    let probing = tokio::spawn(async move { probe(address, &check).await });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut asked = vec![0; 4096];
    let length = stream.read(&mut asked).await.expect("a request");
    asked.truncate(length);
    stream.write_all(answer).await.expect("answered");
    let outcome = probing.await.expect("a probe");
    (outcome, String::from_utf8(asked).expect("text"))
}

#[tokio::test]
async fn a_listening_backend_passes_a_tcp_check() {
    let (_listener, address) = listener().await;
    assert_eq!(probe(address, &check(CheckKind::Tcp)).await, Ok(()));
}

#[tokio::test]
async fn a_refused_connection_fails_at_once() {
    let (listener, address) = listener().await;
    drop(listener);
    let start = Instant::now();
    let outcome = probe(address, &check(CheckKind::Tcp)).await;
    assert_eq!(outcome, Err(Failure::Refused));
    assert!(
        start.elapsed() < Duration::from_millis(250),
        "no waiting for the time-out"
    );
}

#[tokio::test]
async fn an_expected_status_passes_and_the_request_is_well_formed() {
    let (outcome, asked) = probe_answered(
        http("/health?full=1", 200..=399),
        b"HTTP/1.1 204 No Content\r\n\r\n",
    )
    .await;
    assert_eq!(outcome, Ok(()));
    let mut lines = asked.split("\r\n");
    assert_eq!(lines.next(), Some("GET /health?full=1 HTTP/1.1"));
    let headers: Vec<_> = lines.collect();
    assert!(headers.contains(&"Host: example.org"), "{headers:?}");
    assert!(headers.contains(&"Connection: close"), "{headers:?}");
    assert!(asked.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn without_a_host_the_address_is_named() {
    let kind = CheckKind::Http {
        path: "/".to_owned(),
        host: None,
        expect: 200..=200,
    };
    let (outcome, asked) = probe_answered(check(kind), b"HTTP/1.0 200 OK\r\n\r\n").await;
    assert_eq!(outcome, Ok(()));
    assert!(asked.contains("\r\nHost: 127.0.0.1:"), "{asked}");
}

#[tokio::test]
async fn another_status_fails_and_is_named() {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let (outcome, _) = probe_answered(http("/", 200..=399), answer).await;
    let failure = outcome.expect_err("503");
    assert_eq!(failure.to_string(), "status 503, expected 200 to 399");
}

#[tokio::test]
async fn an_early_hint_is_not_the_answer() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let (outcome, _) = probe_answered(http("/", 200..=200), answer).await;
    assert_eq!(outcome, Ok(()));
}

#[tokio::test]
async fn a_silent_backend_fails_when_its_time_is_up() {
    let (_listener, address) = listener().await;
    let start = Instant::now();
    let outcome = probe(address, &http("/", 200..=399)).await;
    let failure = outcome.expect_err("silence");
    assert_eq!(failure.to_string(), "no response within 300ms");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_head_without_end_is_not_read_without_end() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 2 * MAX_HEAD]].concat();
    let (outcome, _) = probe_answered(http("/", 200..=399), &endless).await;
    assert!(matches!(outcome, Err(Failure::NotHttp(_))), "{outcome:?}");
}

#[tokio::test]
async fn another_protocol_is_a_failure() {
    let (outcome, _) = probe_answered(http("/", 200..=399), b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(matches!(outcome, Err(Failure::NotHttp(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_a_failure() {
    let (listener, address) = listener().await;
    let check = http("/", 200..=399);
    let probing = tokio::spawn(async move { probe(address, &check).await });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut asked = [0; 4096];
    let _length = stream.read(&mut asked).await.expect("a request");
    drop(stream);
    assert_eq!(probing.await.expect("a probe"), Err(Failure::Closed));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _status = parse_status(&bytes);
        let _status = parse_status(&[b"HTTP/1.1 1".as_slice(), &bytes].concat());
    }
}
