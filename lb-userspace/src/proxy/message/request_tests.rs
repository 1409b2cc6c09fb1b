//! Tests that the parser of requests does not repeat the known mistakes of other proxies: it
//! refuses malformed and ambiguous requests, and the outcome does not depend on how the bytes
//! arrive.

use proptest::prelude::*;

use super::*;
use crate::proxy::message::{HeadScanner, header_slots, settle_request_version};

/// Returns the framing of the request in the bytes that a connection has received so far, parsed in
/// the same steps as a connection does; `None` while its head is incomplete.
fn outcome(input: &[u8]) -> Result<Option<Framing>, Refusal> {
    let Some(length) = HeadScanner::default().scan(input)? else {
        return Ok(None);
    };
    let mut head = input[..length].to_vec();
    settle_request_version(&mut head);
    let mut slots = header_slots();
    parse_request(&head, &mut slots, true).map(|request| Some(request.framing))
}

fn refused(head: &str) -> Refusal {
    outcome(head.as_bytes()).expect_err(head)
}

fn accepted(head: &str) -> Framing {
    outcome(head.as_bytes())
        .unwrap_or_else(|refusal| panic!("{refusal:?}: {head}"))
        .unwrap_or_else(|| panic!("incomplete: {head}"))
}

/// Returns a GET request with these header lines after Host.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn plain_requests_are_understood() {
    assert_eq!(accepted(&get("")), Framing::Empty);
    assert_eq!(accepted(&get("Content-Length: 0\r\n")), Framing::Empty);
    assert_eq!(accepted(&get("content-length:12\r\n")), Framing::Length(12));
    assert_eq!(
        accepted(&get("Transfer-Encoding: Chunked\r\n")),
        Framing::Chunked
    );
    assert_eq!(accepted("GET / HTTP/1.0\r\n\r\n"), Framing::Empty);
    assert_eq!(
        accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        Framing::Empty
    );
}

#[test]
fn both_length_and_transfer_encoding_are_refused() {
    for lines in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        assert_eq!(refused(&get(lines)), Refusal::AmbiguousLength);
    }
}

#[test]
fn more_than_one_content_length_is_refused() {
    for lines in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1, 2\r\n",
        "Content-Length: 1, 1\r\n",
    ] {
        assert_eq!(refused(&get(lines)), Refusal::ContentLength);
    }
}

#[test]
fn a_content_length_that_is_no_number_is_refused() {
    for value in ["", "+1", "-1", "0x1", "1 2", "1;", "99999999999999999999"] {
        assert_eq!(
            refused(&get(&format!("Content-Length: {value}\r\n"))),
            Refusal::ContentLength,
            "{value}"
        );
    }
}

#[test]
fn a_transfer_encoding_that_does_not_end_in_chunked_is_refused() {
    for value in [
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "xchunked",
        "",
        "chunked;q=1",
        "\"chunked\"",
    ] {
        assert_eq!(
            refused(&get(&format!("Transfer-Encoding: {value}\r\n"))),
            Refusal::TransferEncoding,
            "{value}"
        );
    }
    assert_eq!(
        refused(&get(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
        )),
        Refusal::TransferEncoding
    );
}

#[test]
fn a_coding_before_chunked_is_not_served() {
    assert_eq!(
        refused(&get("Transfer-Encoding: gzip, chunked\r\n")),
        Refusal::TransferCoding
    );
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    assert_eq!(
        refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Refusal::TransferEncoding
    );
}

#[test]
fn folded_lines_are_refused() {
    assert_eq!(refused(&get("X: 1\r\n 2\r\n")), Refusal::HeaderLine);
    assert_eq!(refused(&get("X: 1\r\n\t2\r\n")), Refusal::HeaderLine);
    assert_eq!(
        refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        Refusal::HeaderLine
    );
}

#[test]
fn a_line_feed_without_carriage_return_is_refused() {
    assert_eq!(refused(&get("X: 1\n")), Refusal::BareLineEnd);
    assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), Refusal::BareLineEnd);
}

#[test]
fn a_carriage_return_without_line_feed_is_refused() {
    for head in [
        get("X: 1\r2\r\n"),
        get("X: 1\r\r\n"),
        get("X\r: 1\r\n"),
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n".to_owned(),
    ] {
        refused(&head);
    }
}

#[test]
fn space_before_the_colon_is_refused() {
    assert_eq!(refused(&get("Content-Length : 1\r\n")), Refusal::HeaderLine);
    assert_eq!(refused(&get("X\t: 1\r\n")), Refusal::HeaderLine);
}

#[test]
fn control_characters_in_values_are_refused() {
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| *byte != b'\t') {
        let head = get(&format!("X: a{}b\r\n", char::from(byte)));
        refused(&head);
    }
}

#[test]
fn names_that_are_no_tokens_are_refused() {
    for line in [": 1", "X Y: 1", "X(: 1", "X\0: 1", "no colon", "ä: 1"] {
        assert_eq!(
            refused(&get(&format!("{line}\r\n"))),
            Refusal::HeaderLine,
            "{line}"
        );
    }
}

#[test]
fn a_request_line_without_a_valid_version_is_refused() {
    for line in [
        "GET /",
        "GET / HTTP/1.10",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/01.1",
        "GET /  HTTP/1.1",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET",
        "",
        "G(T / HTTP/1.1",
    ] {
        refused(&format!("{line}\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn a_request_line_is_refused_for_what_is_wrong_with_it() {
    for (line, refusal) in [
        ("GET / HTTP/2.0", Refusal::Version),
        ("GET / HTTP/0.9", Refusal::Version),
        ("GET /a b HTTP/1.1", Refusal::Target),
        ("GET /a b HTTP/1.2", Refusal::Target),
        ("GET /  HTTP/1.1", Refusal::Target),
        ("GET / http/1.1", Refusal::RequestLine),
        ("GET / HTTP/1.10", Refusal::RequestLine),
        ("GET /", Refusal::RequestLine),
        ("GET / HTTP/1.1 ", Refusal::RequestLine),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(refused(&head), refusal, "{line:?}");
    }
}

#[test]
fn later_minor_versions_are_served_as_1_1() {
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let head = format!("POST / {version}\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(accepted(&head), Framing::Length(1));
    }
}

#[test]
fn targets_that_are_no_paths_are_refused() {
    for target in [
        "a",
        "*",
        "ftp://a/",
        "/a#b",
        "/ä",
        "//a\0",
        "http:///x",
        "http://u@a/",
    ] {
        refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn an_absolute_target_that_disagrees_with_host_is_refused() {
    for target in ["http://b/", "https://a:444/", "https://a.b/"] {
        assert_eq!(
            refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
            Refusal::HostMismatch,
            "{target}"
        );
    }
}

#[test]
fn anything_but_exactly_one_host_is_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Refusal::Host);
    assert_eq!(refused(&get("Host: a\r\n")), Refusal::Host);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Refusal::Host);
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        Refusal::Host
    );
    assert_eq!(
        refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        Refusal::Host
    );
}

#[test]
fn connect_and_strange_expectations_are_refused() {
    assert_eq!(
        refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        Refusal::Method
    );
    assert_eq!(refused(&get("Expect: 200-ok\r\n")), Refusal::Expectation);
}

#[test]
fn too_many_headers_are_refused() {
    assert_eq!(
        refused(&get(&"X: 1\r\n".repeat(100))),
        Refusal::TooManyHeaders
    );
    assert_eq!(accepted(&get(&"X: 1\r\n".repeat(99))), Framing::Empty);
}

#[test]
fn connections_are_kept_as_the_version_and_the_client_say() {
    let keep_alive = |head: &str| {
        let mut slots = header_slots();
        parse_request(head.as_bytes(), &mut slots, true)
            .expect("a good head")
            .keep_alive
    };
    assert!(keep_alive(&get("")));
    assert!(!keep_alive(&get("Connection: x, Close\r\n")));
    assert!(!keep_alive("GET / HTTP/1.0\r\n\r\n"));
    assert!(keep_alive(
        "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    ));
}

#[test]
fn an_upgrade_with_a_body_is_not_passed_on() {
    let head = get("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n");
    let mut slots = header_slots();
    let request = parse_request(head.as_bytes(), &mut slots, true).expect("a good head");
    assert_eq!(request.upgrade, None);
}

/// Generates bytes that resemble a request.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("Host: a\r\n".to_owned()),
        Just("Content-Length: 3\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just(" ".to_owned()),
        Just(": ".to_owned()),
        "[ -~]{0,6}",
        "\\PC{0,3}",
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = outcome(&bytes);
        let head = [&bytes[..], b"\r\n\r\n"].concat();
        let _ = outcome(&head);
    }

    #[test]
    fn a_head_split_anywhere_is_judged_the_same(bytes in nearly_a_request()) {
        let whole = HeadScanner::default().scan(&bytes);
        let mut scanner = HeadScanner::default();
        let mut split = Ok(None);
        for length in 1..=bytes.len() {
            split = scanner.scan(&bytes[..length]);
            if split != Ok(None) { break; }
        }
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn what_is_accepted_is_accepted_again_once_forwarded(bytes in nearly_a_request()) {
        let mut slots = header_slots();
        if let Ok(Some(length)) = HeadScanner::default().scan(&bytes)
            && let Ok(request) = parse_request(&bytes[..length], &mut slots, true)
        {
            let via = crate::proxy::message::Via {
                client: "192.0.2.7", https: true, trusted: false, certificate: None,
                local: "192.0.2.1" };
            let mut out = Vec::new();
            request.write_to(&via, &crate::proxy::message::Changes::default(), &mut out);
            prop_assert_eq!(outcome(&out), Ok(Some(request.framing)));
        }
    }
}
