use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Instant, SystemTime},
};

use proptest::prelude::*;

use super::*;
use crate::config::{AccessField, AccessFormat, FormatPart};

fn line<'a>(target: &'a [u8], user_agent: &'a [u8]) -> Line<'a> {
    Line {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_400_007),
        service: "https",
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        client_port: 50_000,
        protocol: "HTTP/1.1",
        tls_version: "1.3",
        tls_resumed: Some(false),
        method: b"GET",
        host: b"example.org",
        target,
        referer: b"",
        user_agent,
        status: 502,
        why: Some(EndReason {
            reason: "backend_connect_refused",
            ended_by: "backend",
            phase: "connect",
        }),
        backend: "web1",
        attempts: 2,
        request_bytes: 0,
        response_bytes: 77,
        tls: Some(Duration::from_micros(900)),
        queue: Some(Duration::ZERO),
        connect: Some(Duration::from_micros(120)),
        first_byte: None,
        total: Duration::from_micros(1500),
        trace_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
    }
}

fn written(line: &Line<'_>, format: &AccessFormat) -> String {
    let mut out = Vec::new();
    line.write_to(format, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_line_of_json_has_every_field() {
    let text = written(&line(b"/a?b", b"curl/8"), &AccessFormat::Json);
    assert_eq!(
        text,
        r#"{"time":"2000-02-29T00:00:00.007Z","service":"https","client":"192.0.2.7","client_port":50000,"protocol":"HTTP/1.1","tls_version":"1.3","tls_resumed":false,"method":"GET","host":"example.org","target":"/a?b","referer":null,"user_agent":"curl/8","status":502,"reason":"backend_connect_refused","ended_by":"backend","phase":"connect","backend":"web1","attempts":2,"request_bytes":0,"response_bytes":77,"tls_us":900,"queue_us":0,"connect_us":120,"first_byte_us":null,"total_us":1500,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#
    );
}

#[test]
fn a_combined_line_is_as_others_write_it() {
    let text = written(&line(b"/a\"", b""), &AccessFormat::Combined);
    assert_eq!(
        text,
        r#"192.0.2.7 - - [29/Feb/2000:00:00:00 +0000] "GET /a\x22 HTTP/1.1" 502 77 "-" "-""#
    );
}

#[test]
fn a_format_of_ones_own_has_its_fields() {
    let format = AccessFormat::Own(vec![
        FormatPart::Field(AccessField::Client),
        FormatPart::Text(" took ".to_owned()),
        FormatPart::Field(AccessField::TotalUs),
        FormatPart::Text(" µs: ".to_owned()),
        FormatPart::Field(AccessField::FirstByteUs),
    ]);
    let text = written(&line(b"/", b""), &format);
    assert_eq!(text, "192.0.2.7 took 1500 µs: -");
}

#[test]
fn the_page_has_every_field() {
    let page = include_str!("../../../docs/operations.md");
    for field in AccessField::ALL {
        let row = format!("| `{}` | {} |\n", field.name(), field.meaning());
        assert!(page.contains(&row), "docs/operations.md has no row: {row}");
    }
}

fn every_field() -> AccessFormat {
    let fields = AccessField::ALL.iter().copied();
    AccessFormat::Own(fields.map(FormatPart::Field).collect())
}

proptest! {
    #[test]
    fn a_line_is_one_line_whatever_strangers_send(values: [Vec<u8>; 5]) {
        let [method, host, target, referer, user_agent] = &values;
        let line = Line { method, host, referer, ..line(target, user_agent) };
        let json = written(&line, &AccessFormat::Json);
        let parsed: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&json).expect("JSON");
        prop_assert_eq!(parsed.len(), AccessField::ALL.len());
        prop_assert_eq!(&parsed["status"], &serde_json::json!(502));
        let shapes = [json, written(&line, &AccessFormat::Combined), written(&line, &every_field())];
        for text in shapes {
            prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
            prop_assert_eq!(text.lines().count(), 1);
        }
    }
}

fn settings(path: &Path) -> config::AccessLog {
    config::AccessLog {
        format: AccessFormat::Combined,
        to: LogTarget::File(path.to_owned()),
        trace: false,
        connections: false,
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn lines_reach_the_file_and_the_next_one_after_a_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let counts = Arc::<Counts>::default();
    let log = AccessLog::open(&settings(&path), None, &counts).expect("open");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    log.push(&line(b"/first", b""));
    wait_until("the first is written", || counts.now().written == 1);
    fs::rename(&path, &moved).expect("moved");
    log.push(&line(b"/between", b""));
    wait_until("the second is written", || counts.now().written == 2);
    log.reopen();
    wait_until("there is a new file", || path.exists());
    log.push(&line(b"/after", b""));
    log.finish(Duration::from_secs(10));
    let text = |path| fs::read_to_string(path).expect("a file");
    assert!(text(&moved).contains("/first") && text(&moved).contains("/between"));
    assert_eq!(text(&path).lines().count(), 1);
    assert!(text(&path).contains("/after"));
    assert_eq!(counts.now().written, 3);
}

#[test]
fn new_settings_for_the_same_file_keep_it_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let counts = Arc::<Counts>::default();
    let first = AccessLog::open(&settings(&path), None, &counts).expect("open");
    let json = config::AccessLog {
        format: AccessFormat::Json,
        ..settings(&path)
    };
    let second = AccessLog::open(&json, Some(&first), &counts).expect("open");
    first.push(&line(b"/1", b""));
    drop(first);
    second.push(&line(b"/2", b""));
    second.finish(Duration::from_secs(10));
    let text = fs::read_to_string(&path).expect("a file");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().any(|line| line.starts_with('{')), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
    let error = AccessLog::open(
        &settings(Path::new("/nonexistent/log")),
        None,
        &Arc::default(),
    );
    let said = error.expect_err("no folder").to_string();
    assert!(said.contains("/nonexistent/log"), "{said}");
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let counts = Arc::<Counts>::default();
    let full = settings(Path::new("/dev/full"));
    let log = AccessLog::open(&full, None, &counts).expect("open");
    log.push(&line(b"/", b""));
    log.push(&line(b"/", b""));
    log.finish(Duration::from_secs(10));
    let counted = counts.now();
    assert_eq!((counted.written, counted.not_written), (0, 2), "{counted}");
}

#[test]
fn nobody_waits_for_a_reader_that_does_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    // The pipe is opened for reading first: opening a pipe without a reader would block. This
    // reader reads nothing, so writing blocks once the pipe is full.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path);
    let _reader = reader.expect("open");
    let counts = Arc::<Counts>::default();
    let log = AccessLog::open(&settings(&path), None, &counts).expect("open");
    let long = vec![b'a'; 2000];
    let (began, pushed) = (Instant::now(), 4 * queue::MOST_BYTES / long.len());
    for _ in 0..pushed {
        log.push(&line(&long, b""));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(counts.now().no_room > pushed as u64 / 4, "{}", counts.now());
}
