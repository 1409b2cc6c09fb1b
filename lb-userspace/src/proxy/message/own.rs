//! The responses that the proxy itself gives.

use std::time::SystemTime;

use super::{Refusal, date::http_date, forward::push_field};

/// The text of a response of the proxy's own: one line for people.
pub(crate) fn own_text(status: u16, refusal: Option<Refusal>) -> String {
    let sentence = match (refusal, status) {
        (Some(refusal), _) => refusal.sentence(),
        (None, 502) => "The server behind this one gave no valid answer. Please try again.",
        (None, 503) => "No server is available at the moment. Please try again soon.",
        (None, 504) => "The server behind this one did not answer in time. Please try again.",
        (None, _) => "This request cannot be served.",
    };
    format!("{status} {}\n\n{sentence}\n", reason(status))
}

/// The header fields of a response of the proxy's own, at the time `now`.
pub(crate) fn own_fields(
    status: u16,
    text: &str,
    now: SystemTime,
) -> impl Iterator<Item = (&'static str, String)> {
    let retry = (status == 503).then(|| ("Retry-After", "1".to_owned()));
    [
        ("Date", http_date(now)),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Length", text.len().to_string()),
        ("Cache-Control", "no-store".to_owned()),
    ]
    .into_iter()
    .chain(retry)
}

/// Appends a whole HTTP/1 response of the proxy's own.
pub(crate) fn own_response(
    (status, refusal): (u16, Option<Refusal>),
    (keep_alive, to_head): (bool, bool),
    now: SystemTime,
    out: &mut Vec<u8>,
) {
    let text = own_text(status, refusal);
    let line = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    out.extend_from_slice(line.as_bytes());
    for (name, value) in own_fields(status, &text, now) {
        push_field(out, name, value.as_bytes());
    }
    let connection: &[u8] = if keep_alive { b"keep-alive" } else { b"close" };
    push_field(out, "Connection", connection);
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the whole HTTP/1 response to a directory that validates a name (RFC 8555 §8.3).
pub(crate) fn challenge_response(
    text: &str,
    (keep_alive, to_head): (bool, bool),
    now: SystemTime,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    push_field(out, "Date", http_date(now).as_bytes());
    push_field(out, "Content-Type", b"application/octet-stream");
    push_field(out, "Content-Length", text.len().to_string().as_bytes());
    let connection: &[u8] = if keep_alive { b"keep-alive" } else { b"close" };
    push_field(out, "Connection", connection);
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(text.as_bytes());
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::message::{Framing, header_slots, parse_response};

    #[test]
    fn every_response_of_our_own_is_a_good_response() {
        let statuses = Refusal::ALL
            .into_iter()
            .map(|refusal| (refusal.status(), Some(refusal)));
        for (status, refusal) in statuses.chain([(502, None), (503, None), (504, None)]) {
            let mut out = Vec::new();
            let now = SystemTime::UNIX_EPOCH;
            own_response((status, refusal), (false, false), now, &mut out);
            let date = b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
            assert!(memchr::memmem::find(&out, date).is_some());
            let body = own_text(status, refusal);
            let head = out.strip_suffix(body.as_bytes()).expect("the text last");
            let mut slots = header_slots();
            let response = parse_response(head, &mut slots, false).expect("a good head");
            assert_eq!(response.status, status);
            assert_eq!(response.framing, Framing::Length(body.len() as u64));
            assert_ne!(response.reason, "Error", "{status}");
            assert!(!response.keep_alive);
        }
    }
}
