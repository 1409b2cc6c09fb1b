//! Tests of the access log, end to end: it has one line for each request, whatever the outcome.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::Shutdown,
    path::Path,
    sync::Arc,
    time::Duration,
};

use lb::config::{AccessField, AccessFormat, FormatPart};
use lb_common::backend::BackendState;
use serde_json::{Value, json};

use crate::{
    backends::{Backend, ok, read_head},
    clients::{Client, TlsClient, client_config},
    raw_http2::{self, FrameClient, RST_STREAM, frame},
    site::{Site, wait_until},
};

/// Waits until an access log file has `count` lines, and returns them as JSON.
fn lines(file: &Path, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(file).expect("a file");
    wait_until("the lines are written", || read().lines().count() >= count);
    let text = read();
    let lines: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), count, "{text}");
    lines
}

fn number(line: &Value, field: &str) -> u64 {
    let number = line[field].as_u64();
    number.unwrap_or_else(|| panic!("{field} of {line}"))
}

#[test]
fn a_request_that_is_answered_has_all_of_its_line() {
    let backend = Backend::slow("a", Duration::from_millis(30));
    let mut site = Site::https(&[backend.address]);
    let file = site.log_requests();
    let mut client = TlsClient::tls(site.address);
    client.send(
        b"POST /a?b=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x \"y\" \xc3\xa4\r\n\
         Referer: https://r.example/\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(client.response().status(), 200);
    assert_eq!(client.get("/second").status(), 200);
    let lines = lines(&file, 2);
    let first = &lines[0];
    for (field, value) in [
        ("service", json!("site")),
        ("client", json!("127.0.0.1")),
        ("protocol", json!("HTTP/1.1")),
        ("tls_version", json!("1.3")),
        ("tls_resumed", json!(false)),
        ("method", json!("POST")),
        ("host", json!("localhost")),
        ("target", json!("/a?b=1")),
        ("referer", json!("https://r.example/")),
        ("user_agent", json!("x \"y\" ä")),
        ("status", json!(200)),
        ("reason", Value::Null),
        ("ended_by", Value::Null),
        ("backend", json!("web1")),
        ("attempts", json!(1)),
        ("request_bytes", json!(3)),
        ("response_bytes", json!(1)),
    ] {
        assert_eq!(first[field], value, "{field} of {first}");
    }
    assert!(number(first, "client_port") > 0);
    assert!(number(first, "tls_us") > 0);
    assert!(number(first, "first_byte_us") >= 30_000, "{first}");
    let parts = ["queue_us", "connect_us", "first_byte_us"];
    let parts: u64 = parts.iter().map(|field| number(first, field)).sum();
    assert!(number(first, "total_us") >= parts, "{first}");
    assert!(number(first, "total_us") < parts + 20_000, "{first}");
    assert_eq!(lines[1]["target"], "/second");
    assert_eq!(lines[1]["tls_us"], Value::Null, "only on the first request");
}

#[test]
fn requests_over_http2_have_the_same_line() {
    let mut site = Site::https(&[Backend::named("a").address]);
    let file = site.log_requests();
    let mut client = FrameClient::connect(site.address);
    let fields: [(&str, &[u8]); 2] = [("user-agent", b"h2"), ("referer", b"r")];
    assert_eq!(client.ask(&raw_http2::get(&fields), None).status, 200);
    let line = &lines(&file, 1)[0];
    for (field, value) in [
        ("protocol", json!("HTTP/2.0")),
        ("method", json!("GET")),
        ("host", json!("localhost")),
        ("target", json!("/")),
        ("user_agent", json!("h2")),
        ("referer", json!("r")),
        ("status", json!(200)),
        ("response_bytes", json!(1)),
        ("backend", json!("web1")),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
}

#[test]
fn a_request_that_ends_early_has_a_line_with_the_reason() {
    let backend = Backend::slow("late", Duration::from_secs(30));
    let mut site = Site::https(&[backend.address]);
    let file = site.log_requests();
    let mut client = TlsClient::tls(site.address);
    client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    let mut cancelling = FrameClient::connect(site.address);
    let (stream, request) = cancelling.request(&raw_http2::get(&[]), None);
    cancelling.tls.send(request);
    wait_until("the backend has it", || backend.requests() == 1);
    let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    cancelling.tls.send(cancel);
    lines(&file, 2);
    site.set(0, BackendState::Down);
    assert_eq!(TlsClient::tls(site.address).get("/down").status(), 503);
    let lines = lines(&file, 3);
    let ends: Vec<_> = lines
        .iter()
        .map(|line| {
            let [status, reason, by, phase] =
                ["status", "reason", "ended_by", "phase"].map(|field| line[field].clone());
            json!([status, reason, by, phase, line["backend"]])
        })
        .collect();
    assert_eq!(
        ends,
        [
            json!([400, "client_head_header_line", "client", "head", null]),
            json!([
                null,
                "client_response_head_cancelled",
                "client",
                "response_head",
                "web1"
            ]),
            json!([503, "lb_queue_no_backend", "lb", "queue", null]),
        ]
    );
    assert!(number(&lines[2], "response_bytes") > 0);
}

#[test]
fn every_attempt_is_counted_in_the_line() {
    let good = Backend::named("good");
    let mut site = Site::plain(
        &[Backend::absent(), Backend::absent(), good.address],
        |_| {},
    );
    let file = site.log_requests();
    let mut client = Client::plain(site.address);
    assert_eq!(client.get("/").text(), "good");
    let line = &lines(&file, 1)[0];
    assert_eq!(line["backend"], "web3", "{line}");
    assert_eq!(line["tls_version"], Value::Null);
    assert_eq!(number(line, "attempts"), 3);
}

#[test]
fn a_tunnel_is_logged_when_it_ends() {
    let backend = Backend::raw(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        read_head(&mut reader);
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: websocket\r\n\r\nhello";
        stream.write_all(switching).expect("sent");
        let _end = reader.read_to_end(&mut Vec::new());
    });
    let mut site = Site::plain(&[backend.address], |_| {});
    let file = site.log_requests();
    let mut client = std::net::TcpStream::connect(site.address).expect("connected");
    let upgrade =
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(upgrade).expect("sent");
    wait_until("it is a tunnel", || site.answered(101) == 1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "");
    client.write_all(b"twelve bytes").expect("sent");
    client.shutdown(Shutdown::Write).expect("closed");
    client.read_to_end(&mut Vec::new()).expect("the end");
    let line = &lines(&file, 1)[0];
    assert_eq!(line["status"], 101);
    assert_eq!(line["reason"], Value::Null);
    assert_eq!(number(line, "request_bytes"), 12);
    assert_eq!(number(line, "response_bytes"), 5);
    assert!(number(line, "total_us") >= 100_000);
}

#[test]
fn connections_that_fail_have_lines_where_that_is_wanted() {
    let mut site = Site::https(&[Backend::named("a").address]);
    let file = site.log_requests();
    let mut plain = Client::plain(site.address);
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!plain.rest_of_any_kind().is_empty(), "an alert");
    let line = &lines(&file, 1)[0];
    assert_eq!(line["reason"], "client_handshake_malformed");
    assert_eq!(line["status"], Value::Null);
    site.log.access.as_mut().expect("a log").connections = false;
    site.apply(site.service.clone()).expect("applied");
    Client::plain(site.address).send("nonsense");
    assert_eq!(TlsClient::tls(site.address).get("/").status(), 200);
    let lines = lines(&file, 2);
    assert_eq!(lines[1]["status"], 200);
}

#[test]
fn a_new_format_is_in_force_for_the_next_request() {
    let mut site = Site::https(&[Backend::named("a").address]);
    let mut client = TlsClient::tls(site.address);
    assert_eq!(client.get("/unlogged").status(), 200);
    let file = site.log_requests();
    assert_eq!(client.get("/first").status(), 200);
    lines(&file, 1);
    site.log.access.as_mut().expect("a log").format = AccessFormat::Own(vec![
        FormatPart::Field(AccessField::Target),
        FormatPart::Text(" ".to_owned()),
        FormatPart::Field(AccessField::Status),
    ]);
    site.apply(site.service.clone()).expect("applied");
    assert_eq!(client.get("/second").status(), 200);
    site.log.access = None;
    site.apply(site.service.clone()).expect("applied");
    assert_eq!(client.get("/third").status(), 200);
    let counts = || site.proxy().log_counts();
    wait_until("both are written", || counts().written == 2);
    let text = std::fs::read_to_string(&file).expect("a file");
    assert_eq!(text.lines().nth(1), Some("/second 200"));
    assert_eq!((counts().no_room, counts().not_written), (0, 0));
}

#[test]
fn a_log_that_cannot_be_opened_is_refused_and_the_old_one_stays() {
    let mut site = Site::https(&[Backend::named("a").address]);
    let file = site.log_requests();
    let before = site.log.clone();
    site.log.access.as_mut().expect("a log").to =
        lb::config::LogTarget::File("/nonexistent/log".into());
    let errors = site.apply(site.service.clone()).expect_err("refused");
    assert!(errors[0].to_string().contains("/nonexistent/log"));
    site.log = before;
    assert_eq!(TlsClient::tls(site.address).get("/").status(), 200);
    lines(&file, 1);
}

#[test]
fn the_last_lines_are_written_when_the_front_ends() {
    let mut site = Site::plain(&[Backend::answering(|_| ok(b"x")).address], |_| {});
    let file = site.log_requests();
    let mut client = Client::plain(site.address);
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
    }
    drop(client);
    let folder = std::mem::replace(
        &mut site.folder,
        tempfile::tempdir().expect("another folder"),
    );
    site.shutdown(Duration::from_secs(5));
    let text = std::fs::read_to_string(&file).expect("a file");
    assert_eq!(text.lines().count(), 100);
    drop(folder);
}

#[test]
fn a_resumed_session_is_said_to_be_one() {
    let mut site = Site::https(&[Backend::named("a").address]);
    let file = site.log_requests();
    let config = Arc::new(client_config(&rustls::version::TLS12));
    for _ in 0..2 {
        let mut client = TlsClient::tls_with(site.address, &config, "localhost");
        assert_eq!(client.get("/").status(), 200);
    }
    let lines = lines(&file, 2);
    let sessions = lines.iter();
    let sessions: Vec<_> = sessions
        .map(|line| json!([line["tls_version"], line["tls_resumed"]]))
        .collect();
    assert_eq!(sessions, [json!(["1.2", false]), json!(["1.2", true])]);
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[test]
fn a_trace_is_passed_on_and_begins_only_where_that_is_wanted() {
    let echoing = Backend::answering(|seen| {
        let parents = seen.head.lines();
        let parents: Vec<_> = parents
            .filter(|line| line.to_ascii_lowercase().starts_with("trace"))
            .collect();
        ok(parents.join("\n").as_bytes())
    });
    let mut site = Site::https(&[echoing.address]);
    let file = site.log_requests();
    let mut client = TlsClient::tls(site.address);
    let mut ask = |fields: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client.response().text()
    };
    let valid = format!("traceparent: {PARENT}\r\ntracestate: a=1\r\n");
    let as_it_came = format!("traceparent: {PARENT}\ntracestate: a=1");
    assert_eq!(ask(&valid), as_it_came);
    assert_eq!(ask(""), "");
    site.log.access.as_mut().expect("a log").trace = true;
    site.apply(site.service.clone()).expect("applied");
    assert_eq!(ask(&valid), as_it_came);
    let new = ask("traceparent: nonsense\r\ntracestate: a=1\r\n");
    let new = new.strip_prefix("traceparent: 00-").expect("one, alone");
    let mut http2 = FrameClient::connect(site.address);
    let answer = http2.ask(&raw_http2::get(&[]), None);
    assert!(answer.body.starts_with(b"traceparent: 00-"), "{answer:?}");
    let lines = lines(&file, 5);
    let traces: Vec<_> = lines.iter().map(|line| &line["trace_id"]).collect();
    assert_eq!(traces[0], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(traces[1], &Value::Null);
    assert_eq!(traces[2], traces[0]);
    assert_eq!(traces[3], &new[..32]);
    assert_eq!(traces[4].as_str().map(str::len), Some(32));
    assert_ne!(traces[4], traces[3]);
}
