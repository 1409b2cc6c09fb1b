//! The text of the front's own responses.

use std::time::SystemTime;

use super::{Refusal, date::http_date, field_line::push_field};

/// Returns the text of a response that the front creates itself: one line for people to read.
/// `refusal` is what was wrong with the request, if that is the cause.
pub(crate) fn own_text(status: u16, refusal: Option<Refusal>) -> String {
    let sentence = match (refusal, status) {
        (Some(refusal), _) => refusal.sentence(),
        (None, 404) => "No such resource.",
        (None, 421) => "This server does not serve that host.",
        (None, 502) => "The backend server sent no valid response. Please try again.",
        (None, 503) => "No server is available at the moment. Please try again soon.",
        (None, 504) => "The backend server did not respond in time. Please try again.",
        (None, _) => "This request cannot be served.",
    };
    format!("{status} {}\n\n{sentence}\n", reason_phrase(status))
}

/// Returns the reason phrase of a status line with this status (RFC 9112 §4).
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok();
    known
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}

/// Appends the complete HTTP/1 response to an ACME challenge (RFC 8555 §8.3).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::message::{Answer, Framing, header_slots, own_body, parse_response};

    #[test]
    fn every_response_of_our_own_is_a_good_response() {
        let statuses = Refusal::ALL
            .into_iter()
            .map(|refusal| (refusal.status(), Some(refusal)));
        let others = [404, 421, 502, 503, 504].map(|status| (status, None));
        for (status, refusal) in statuses.chain(others) {
            let mut out = Vec::new();
            let (content_type, body) = own_body(status, refusal);
            let answer = Answer {
                status,
                body: Some((content_type, &body)),
                location: None,
                failure: true,
                edits: None,
            };
            answer.write_to((false, false), SystemTime::UNIX_EPOCH, &mut out);
            let date = b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
            assert!(memchr::memmem::find(&out, date).is_some());
            let head = out.strip_suffix(&*body).expect("the text last");
            let mut slots = header_slots();
            let response = parse_response(head, &mut slots, false).expect("a good head");
            assert_eq!(response.status, status);
            assert_eq!(response.framing, Framing::Length(body.len() as u64));
            assert_ne!(response.reason, "Error", "{status}");
            assert!(!response.keep_alive);
        }
    }
}
