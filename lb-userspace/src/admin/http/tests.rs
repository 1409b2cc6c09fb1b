use std::net::SocketAddr;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::admin::{Status, examples::Example};

const PATIENCE: Duration = Duration::from_secs(20);

async fn serving(problems: &[&str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let problems = problems.iter().map(|problem| (*problem).to_owned());
    let source = Example {
        problems: problems.collect(),
    };
    tokio::spawn(serve(listener, Arc::new(source), Shutdown::never()));
    address
}

/// Sends `bytes` to the server and returns everything that it sends until it closes the connection.
async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    rest_of(&mut stream).await
}

async fn rest_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("in time").expect("read");
    String::from_utf8(answer).expect("text")
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: lb\r\n\r\n");
    let answer = ask(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = format!("Content-Length: {}", body.len());
    assert!(head.contains(&length), "{head}");
    (code_of(&answer), body.to_owned())
}

fn code_of(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn every_path_has_its_answer() {
    let address = serving(&[]).await;
    let (code, page) = get(address, "/").await;
    assert_eq!(code, 200);
    assert!(page.starts_with("<!doctype html>"));
    let (code, json) = get(address, "/api/v1/status?pretty").await;
    assert_eq!(code, 200);
    let status: Status = serde_json::from_str(&json).expect("a status");
    assert_eq!(status.node, "lb-a");
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
    let (code, metrics) = get(address, "/metrics").await;
    assert_eq!(code, 200);
    assert_eq!(metrics, "lb_example{format=\"Prometheus\"} 1\n");
    assert_eq!(get(address, "/etc/passwd").await.0, 404);
}

#[tokio::test]
async fn prometheus_gets_open_metrics() {
    let accept = "accept: Application/OpenMetrics-Text;version=1.0.0;q=0.75,text/plain;q=0.5";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: lb\r\n{accept}\r\n\r\n");
    let answer = ask(serving(&[]).await, request.as_bytes()).await;
    assert!(answer.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.contains("format=\"OpenMetrics\""), "{answer}");
}

#[tokio::test]
async fn an_unhealthy_agent_says_503_and_why() {
    let address = serving(&["XDP is detached", "port 443 is closed"]).await;
    let healthz = get(address, "/healthz").await;
    assert_eq!(
        healthz,
        (503, "XDP is detached\nport 443 is closed\n".to_owned())
    );
}

#[tokio::test]
async fn head_has_the_head_alone() {
    let answer = ask(
        serving(&[]).await,
        b"HEAD /healthz HTTP/1.1\r\nHost: lb\r\n\r\n",
    )
    .await;
    assert!(
        answer.contains("Content-Length: 3\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn only_reading_is_served() {
    let request = b"POST /api/v1/status HTTP/1.1\r\nHost: lb\r\nContent-Length: 2\r\n\r\n{}";
    let answer = ask(serving(&[]).await, request).await;
    assert_eq!(code_of(&answer), 405);
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let address = serving(&[]).await;
    for nonsense in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let answer = ask(address, nonsense).await;
        assert_eq!(code_of(&answer), 400, "{nonsense:?}: {answer}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let address = serving(&[]).await;
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; MAX_HEAD]].concat();
    assert_eq!(code_of(&ask(address, &long).await), 431);
    let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(code_of(&ask(address, many.as_bytes()).await), 431);
}

#[tokio::test]
async fn a_slow_client_is_sent_away_and_delays_nobody() {
    let address = serving(&[]).await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(address).await.expect("connected");
    slow.write_all(b"GET / HT").await.expect("sent");
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert!(begun.elapsed() < HEAD_DEADLINE, "the other did not wait");
    assert_eq!(code_of(&rest_of(&mut slow).await), 408);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _request = parse(&bytes);
        let _request = parse(&[b"GET /".as_slice(), &bytes].concat());
    }
}
