//! A table of requests, with a test that each has the same outcome over HTTP/1 and HTTP/2.

use crate::{
    backends::{Backend, ok},
    clients::TlsClient,
    raw_http2::{self, Answer, FrameClient},
    site::Site,
};

/// A request, described in a form in which it can be sent over either protocol.
pub(crate) struct Case {
    method: &'static str,
    target: &'static str,
    fields: &'static [(&'static str, &'static [u8])],
    pub(crate) body: Option<&'static [u8]>,
}

const GET: Case = Case {
    method: "GET",
    target: "/",
    fields: &[],
    body: None,
};

/// The requests of the table, each with the status that the front answers it with.
pub(crate) const CASES: &[(Case, u16)] = &[
    (GET, 200),
    (
        Case {
            target: "/a?b=c",
            ..GET
        },
        200,
    ),
    (
        Case {
            target: "/a/../%2e?`<>\"{}|\\^[]",
            ..GET
        },
        200,
    ),
    (
        Case {
            target: "/a#b",
            ..GET
        },
        400,
    ),
    (
        Case {
            target: "/#",
            ..GET
        },
        400,
    ),
    (
        Case {
            target: "/a b",
            ..GET
        },
        400,
    ),
    (
        Case {
            target: "/\u{e4}",
            ..GET
        },
        400,
    ),
    (Case { target: "a", ..GET }, 400),
    (Case { target: "*", ..GET }, 400),
    (
        Case {
            target: "*",
            method: "OPTIONS",
            ..GET
        },
        200,
    ),
    (
        Case {
            method: "TRACE",
            ..GET
        },
        200,
    ),
    (
        Case {
            method: "TRACE",
            body: Some(b"x"),
            ..GET
        },
        501,
    ),
    (
        Case {
            method: "POST",
            body: Some(b"x"),
            ..GET
        },
        200,
    ),
    (
        Case {
            method: "POST",
            body: Some(b"x"),
            fields: &[("content-length", b"1")],
            ..GET
        },
        200,
    ),
    (
        Case {
            method: "POST",
            body: Some(b"x"),
            fields: &[("content-length", b"+1")],
            ..GET
        },
        400,
    ),
    (
        Case {
            method: "POST",
            body: Some(b"x"),
            fields: &[("content-length", b"1"), ("content-length", b"1")],
            ..GET
        },
        400,
    ),
    (
        Case {
            method: "POST",
            body: Some(b"x"),
            fields: &[("expect", b"100-continue")],
            ..GET
        },
        200,
    ),
    (
        Case {
            fields: &[("expect", b"200-ok")],
            ..GET
        },
        417,
    ),
    (
        Case {
            method: "G(T",
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("x", b"a\0b")],
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("x", b"a\x7fb")],
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("x", b"a\x01b")],
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("x", b"a\xc3\xa4b\tc")],
            ..GET
        },
        200,
    ),
    (
        Case {
            fields: &[("x y", b"a")],
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("x(", b"a")],
            ..GET
        },
        400,
    ),
    (
        Case {
            fields: &[("host", b"b")],
            ..GET
        },
        400,
    ),
];

impl Case {
    /// Formats the request as an HTTP/1.1 request after which the connection is closed.
    pub(crate) fn http1(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\n",
            self.method, self.target
        )
        .into_bytes();
        for (name, value) in self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        let has_length = self
            .fields
            .iter()
            .any(|(name, _)| *name == "content-length");
        if self.body.is_some() && !has_length {
            bytes.extend(b"Transfer-Encoding: chunked\r\n");
        }
        bytes.extend(b"Connection: close\r\n\r\n");
        match self.body {
            Some(body) if has_length => bytes.extend(body),
            Some(body) => {
                bytes.extend(format!("{:x}\r\n", body.len()).as_bytes());
                bytes.extend([body, b"\r\n0\r\n\r\n"].concat());
            }
            None => {}
        }
        bytes
    }

    pub(crate) fn http2(&self) -> Vec<(&'static str, &'static [u8])> {
        let mut fields: Vec<(&str, &[u8])> = vec![
            (":method", self.method.as_bytes()),
            (":scheme", b"https"),
            (":authority", b"localhost"),
            (":path", self.target.as_bytes()),
        ];
        fields.extend(self.fields);
        fields
    }
}

/// Returns a backend that echoes the head and body of each request in its response.
fn mirror() -> Backend {
    Backend::answering(|seen| ok(&[seen.head.as_bytes(), &seen.body].concat()))
}

/// Returns the lines of an echoed request in a form that can be compared between HTTP/1 and HTTP/2:
/// in lower case, with the header fields sorted.
fn told(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[test]
fn a_request_fares_the_same_over_both_protocols() {
    let backend = mirror();
    let site = Site::https(&[backend.address]);
    // All HTTP/2 requests share one connection, because an invalid request must end only its
    // stream.
    let mut frames = FrameClient::connect(site.address);
    for (case, status) in CASES {
        let request = case.http1();
        let what = request.escape_ascii().to_string();
        let mut client = TlsClient::tls(site.address);
        client.send(&request);
        let mut response = client.head();
        while response.starts_with("HTTP/1.1 1") {
            response = client.head();
        }
        assert_eq!(response[9..12].parse(), Ok(*status), "{what}");
        let body = client.rest();
        let answer = frames.ask(&case.http2(), case.body);
        match answer {
            Answer {
                connection_ended: true,
                ..
            } => panic!("{what}: the connection ended"),
            // A request that is malformed by the rules of HTTP/2 is answered with a stream error
            // (RFC 9113 §8.1.1).
            Answer {
                reset: Some(1),
                status: 0,
                ..
            } => assert_eq!(*status, 400, "{what}"),
            answer => {
                assert_eq!(answer.status, *status, "{what}");
                assert!(answer.complete, "{what}");
                if *status == 200 {
                    assert_eq!(told(&answer.body), told(&body), "{what}");
                }
            }
        }
    }
    let answered = CASES.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(backend.requests(), 2 * answered);
}

#[test]
fn an_empty_path_of_http2_ends_its_stream_alone() {
    let backend = mirror();
    let site = Site::https(&[backend.address]);
    let mut frames = FrameClient::connect(site.address);
    let mut fields = raw_http2::get(&[]);
    for field in &mut fields {
        if field.0 == ":path" {
            field.1 = b"";
        }
    }
    // A request whose `:path` is empty is malformed (RFC 9113 §8.3.1).
    let answer = frames.ask(&fields, None);
    assert!(
        !answer.connection_ended && answer.reset == Some(1),
        "{answer:?}"
    );
    assert_eq!(frames.ask(&raw_http2::get(&[]), None).status, 200);
    assert_eq!(backend.requests(), 1);
}
