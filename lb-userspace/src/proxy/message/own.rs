//! The responses that the proxy itself gives.

use super::Refusal;

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

/// Appends a whole HTTP/1 response of the proxy's own.
pub(crate) fn own_response(
    status: u16,
    refusal: Option<Refusal>,
    (keep_alive, to_head): (bool, bool),
    out: &mut Vec<u8>,
) {
    let text = own_text(status, refusal);
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let retry = if status == 503 {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\n{retry}Connection: {connection}\r\n\r\n",
            reason(status),
            text.len(),
        )
        .as_bytes(),
    );
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
            own_response(status, refusal, (false, false), &mut out);
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
