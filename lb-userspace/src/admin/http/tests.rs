use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use tokio::time::Instant;

use super::{request::parse, *};
use crate::admin::{Status, examples::Example};

const PATIENCE: Duration = Duration::from_secs(20);

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const DRAIN: &str = r#"{"command":"backend","name":"web/web1","order":"drain"}"#;

async fn serving(problems: &[&str]) -> SocketAddr {
    let problems = problems.iter().map(|problem| (*problem).to_owned());
    serving_with(problems.collect(), None).await.0
}

/// Starts a server with this operator token. The receiver yields the commands that it passes on.
async fn serving_with(
    problems: Vec<String>,
    token: Option<OperatorToken>,
) -> (SocketAddr, mpsc::Receiver<Command>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (commands, received) = mpsc::channel(1);
    let server = Server::new(Arc::new(Example { problems }), commands, token, None);
    tokio::spawn(server.live.clone().run());
    tokio::spawn(server.serve(listener, Shutdown::never()));
    (address, received)
}

/// Starts a server that accepts [`TOKEN`], and answers each command with `drained`.
async fn serving_an_operator() -> (tempfile::TempDir, SocketAddr) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let token = OperatorToken::at(file);
    let (address, mut commands) = serving_with(Vec::new(), Some(token)).await;
    tokio::spawn(async move {
        while let Some(Command { request, answer }) = commands.recv().await {
            assert!(is_for_the_page(&request), "{request:?}");
            answer.send(Ok("drained".to_owned())).expect("received");
        }
    });
    (folder, address)
}

fn post(body: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "POST /api/v1/command HTTP/1.1\r\nHost: lb\r\n{}Content-Length: {}\r\n\r\n{body}",
        token.unwrap_or_default(),
        body.len()
    )
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
    let style = (200, page::STYLE.to_owned());
    assert_eq!(get(address, "/status.css").await, style);
    let script = (200, page::SCRIPT.to_owned());
    assert_eq!(get(address, "/live.js").await, script);
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
    let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(65));
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

#[tokio::test]
async fn a_browser_that_follows_gets_the_page_anew_every_second() {
    let address = serving(&[]).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = b"GET /api/v1/stream HTTP/1.1\r\nHost: lb\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut received = String::new();
    let two_events = async {
        while received.matches("data: <h1>lb-a</h1>").count() < 2 {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.expect("read");
            assert_ne!(length, 0, "{received}");
            received += &String::from_utf8_lossy(&bytes[..length]);
        }
    };
    timeout(PATIENCE, two_events).await.expect("in time");
    let head = "Content-Type: text/event-stream\r\n";
    assert!(received.contains(head), "{received}");
    assert!(received.contains("\n\ndata: <h1>"), "{received}");
}

#[tokio::test]
async fn a_shutdown_ends_the_streams() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (commands, _received) = mpsc::channel(1);
    let problems = Vec::new();
    let server = Server::new(Arc::new(Example { problems }), commands, None, None);
    let (shut_down, shutdown) = Shutdown::channel();
    let served = tokio::spawn(server.serve(listener, shutdown));
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = b"GET /api/v1/stream HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("read");
    assert_eq!(&first, b"HTTP/1.1 200");
    drop(shut_down);
    rest_of(&mut stream).await;
    let served = timeout(PATIENCE, served).await;
    served.expect("in time").expect("no panic");
}

#[tokio::test]
async fn a_command_needs_the_operator_token() {
    let (_folder, address) = serving_an_operator().await;
    for wrong in [None, Some(""), Some("wrong"), Some(&TOKEN[1..])] {
        let answer = ask(address, post(DRAIN, wrong).as_bytes()).await;
        assert_eq!(code_of(&answer), 401, "{wrong:?}: {answer}");
    }
    let answer = ask(address, post(DRAIN, Some(TOKEN)).as_bytes()).await;
    assert_eq!(code_of(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\ndrained\n"), "{answer}");
}

#[tokio::test]
async fn without_a_token_file_nothing_can_be_changed() {
    let (address, mut commands) = serving_with(Vec::new(), None).await;
    for token in [None, Some(""), Some(TOKEN)] {
        let answer = ask(address, post(DRAIN, token).as_bytes()).await;
        assert_eq!(code_of(&answer), 403, "{token:?}: {answer}");
        assert!(answer.contains("admin.token_file"), "{answer}");
    }
    assert!(commands.try_recv().is_err());
}

#[tokio::test]
async fn the_page_may_order_nothing_but_overrides_and_a_hand_over() {
    let (_folder, address) = serving_an_operator().await;
    for (body, code) in [
        (r#"{"command":"failover"}"#, 200),
        (r#"{"command":"reload"}"#, 403),
        (r#"{"command":"upgrade"}"#, 403),
        (r#"{"command":"status"}"#, 403),
        (r#"{"command":"erase"}"#, 400),
        ("", 400),
    ] {
        let answer = ask(address, post(body, Some(TOKEN)).as_bytes()).await;
        assert_eq!(code_of(&answer), code, "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_command_may_come_in_pieces_and_is_bounded() {
    let (_folder, address) = serving_an_operator().await;
    let bytes = post(DRAIN, Some(TOKEN)).into_bytes();
    for cut in (1..bytes.len()).step_by(7) {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        stream.write_all(&bytes[..cut]).await.expect("sent");
        tokio::task::yield_now().await;
        stream.write_all(&bytes[cut..]).await.expect("sent");
        assert_eq!(code_of(&rest_of(&mut stream).await), 200, "cut at {cut}");
    }
    let long = b"POST /api/v1/command HTTP/1.1\r\nContent-Length: 4097\r\n\r\n";
    assert_eq!(code_of(&ask(address, long).await), 413);
    let none = b"POST /api/v1/command HTTP/1.1\r\n\r\n";
    assert_eq!(code_of(&ask(address, none).await), 411);
    let get = b"GET /api/v1/command HTTP/1.1\r\n\r\n";
    let answer = ask(address, get).await;
    assert_eq!(code_of(&answer), 405);
    assert!(answer.contains("\r\nAllow: POST\r\n"), "{answer}");
}

#[tokio::test]
async fn with_a_certificate_the_listener_speaks_https_alone() {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.pem");
    let made = rcgen::generate_simple_self_signed(["lb.example".to_owned()]).expect("made");
    let pem = made.cert.pem();
    std::fs::write(&path, pem.clone() + &made.signing_key.serialize_pem()).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (commands, _received) = mpsc::channel(1);
    let problems = Vec::new();
    let tls = AdminTls::new(&path, None).expect("TLS");
    let server = Server::new(Arc::new(Example { problems }), commands, None, Some(tls));
    tokio::spawn(server.serve(listener, Shutdown::never()));

    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("lb.example").expect("a name");
    let mut stream = connector.connect(name, stream).await.expect("a handshake");
    let request = b"GET /healthz HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");

    let mut plain = TcpStream::connect(address).await.expect("connected");
    plain.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let _reset = timeout(PATIENCE, plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _request = parse(&bytes);
        let _request = parse(&[b"GET /".as_slice(), &bytes].concat());
        let command = b"POST /api/v1/command HTTP/1.1\r\n".as_slice();
        let _request = parse(&[command, &bytes].concat());
    }
}
