//! Parses the response heads of backends.

use super::{
    Framing, HeaderSlots,
    fields::{FieldKind, kind_of, list_members, parse_length},
};

/// A response head whose framing is unambiguous.
#[derive(Debug)]
pub(crate) struct Response<'b, 'h> {
    /// The status of the response, 100 to 599.
    pub(crate) status: u16,
    /// The reason phrase of the status line.
    pub(crate) reason: &'b str,
    /// How the end of the body is determined.
    pub(crate) framing: Framing,
    /// Whether the connection to the backend can be reused after the body.
    pub(crate) keep_alive: bool,
    /// Whether a Connection field names other header fields, which must be removed.
    pub(crate) names_fields: bool,
    /// All header lines, as the backend sent them.
    pub(crate) fields: &'h [httparse::Header<'b>],
}

/// The error of a response head that cannot be forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MalformedResponse;

/// Parses a complete response head. `to_head` says whether the request's method was HEAD.
///
/// # Errors
/// The head is not HTTP/1.x, or the end of the response's body is ambiguous.
pub(crate) fn parse_response<'b, 'h>(
    head: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    to_head: bool,
) -> Result<Response<'b, 'h>, MalformedResponse> {
    let mut parsed = httparse::Response::new(&mut []);
    let parse = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        head,
        slots,
    );
    if parse != Ok(httparse::Status::Complete(head.len())) {
        return Err(MalformedResponse);
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(MalformedResponse);
    };
    if !(100..=599).contains(&status) {
        return Err(MalformedResponse);
    }
    let facts = FieldFacts::collect(parsed.headers)?;
    let framing = if to_head || status < 200 || status == 204 || status == 304 {
        Framing::Empty
    } else {
        facts.framing
    };
    let keep_alive = !facts.close && (minor == 1 || facts.keep_alive);
    Ok(Response {
        status,
        reason: parsed.reason.unwrap_or(""),
        framing,
        keep_alive: keep_alive && framing != Framing::UntilClose,
        names_fields: facts.names_fields,
        fields: parsed.headers,
    })
}

struct FieldFacts {
    framing: Framing,
    close: bool,
    keep_alive: bool,
    names_fields: bool,
}

impl FieldFacts {
    fn collect(fields: &[httparse::Header<'_>]) -> Result<Self, MalformedResponse> {
        let mut facts = Self {
            framing: Framing::UntilClose,
            close: false,
            keep_alive: false,
            names_fields: false,
        };
        let mut length = None;
        let mut chunked = false;
        for field in fields {
            match kind_of(field.name) {
                FieldKind::ContentLength => {
                    let value = parse_length(field.value).ok_or(MalformedResponse)?;
                    if length.replace(value).is_some_and(|other| other != value) {
                        return Err(MalformedResponse);
                    }
                }
                FieldKind::TransferEncoding if chunked => return Err(MalformedResponse),
                FieldKind::TransferEncoding if field.value.eq_ignore_ascii_case(b"chunked") => {
                    chunked = true;
                }
                FieldKind::TransferEncoding => return Err(MalformedResponse),
                FieldKind::Connection => facts.read_connection(field.value),
                _ => {}
            }
        }
        facts.framing = match (chunked, length) {
            (true, Some(_)) => return Err(MalformedResponse),
            (true, None) => Framing::Chunked,
            (false, Some(0)) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        };
        Ok(facts)
    }

    fn read_connection(&mut self, value: &[u8]) {
        for member in list_members(value) {
            if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.names_fields = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::message::header_slots;

    /// Parses a response head. Returns its status, its framing, and whether the backend's
    /// connection can be reused.
    fn read(head: &str, to_head: bool) -> Result<(u16, Framing, bool), MalformedResponse> {
        let mut slots = header_slots();
        parse_response(head.as_bytes(), &mut slots, to_head)
            .map(|response| (response.status, response.framing, response.keep_alive))
    }

    #[test]
    fn the_end_of_a_body_is_found_as_the_rfc_says() {
        for (head, framing, keep_alive) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                Framing::Empty,
                true,
            ),
            (
                "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
        ] {
            assert_eq!(read(head, false), Ok((200, framing, keep_alive)), "{head}");
        }
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let length = "Content-Length: 5\r\n\r\n";
        for (status, to_head) in [(204, false), (304, false), (101, false), (200, true)] {
            assert_eq!(
                read(&format!("HTTP/1.1 {status} X\r\n{length}"), to_head),
                Ok((status, Framing::Empty, true))
            );
        }
    }

    #[test]
    fn a_response_whose_end_is_not_certain_is_malformed() {
        for lines in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "X : 1\r\n",
            "X: 1\r\n 2\r\n",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
            assert_eq!(read(&head, false), Err(MalformedResponse), "{head}");
        }
        for head in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 600 X\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
        ] {
            assert_eq!(read(head, false), Err(MalformedResponse), "{head}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut slots = header_slots();
            let head = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat();
            let _ = parse_response(&head, &mut slots, false).map(|response| response.status);
        }
    }
}
