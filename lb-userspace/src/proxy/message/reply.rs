//! Writes the head of a response for a client.

use super::{
    FieldEdits, Framing, Response,
    field_line::push_field,
    fields::{FieldKind, kind_of, named_in_connection},
    number::push_decimal,
};

/// How a response is sent to an HTTP/1 client, and how the client's connection continues after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReplyStyle {
    /// Whether the client speaks HTTP/1.0.
    pub(crate) http10: bool,
    /// Whether the client's connection is kept open after the response.
    pub(crate) keep_alive: bool,
    /// Whether the body is sent in the chunked coding.
    pub(crate) chunked: bool,
}

/// Changes that the front makes to the header of a backend's response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplyChanges<'a> {
    /// The header edits of a service and a route; `None` if there are none.
    pub(crate) edits: Option<&'a FieldEdits>,
    /// The session cookie that the client gets, which makes the response private; `None` if it gets
    /// none.
    pub(crate) set_cookie: Option<&'a str>,
}

impl<'a> ReplyChanges<'a> {
    /// Returns the header lines that are added to the response: name and value.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'a str, std::borrow::Cow<'a, str>)> {
        let edits = self.edits.into_iter().flat_map(FieldEdits::fixed_lines);
        let cookie = self.set_cookie.into_iter().flat_map(|cookie| {
            // A shared cache that stored the response would hand the cookie to other clients (RFC
            // 9111 §7.3).
            [("Set-Cookie", cookie), ("Cache-Control", "private")]
        });
        edits.chain(cookie.map(|(name, value)| (name, value.into())))
    }
}

impl Response<'_, '_> {
    /// Appends the response's head for an HTTP/1 client, with these changes.
    pub(crate) fn write_to(&self, style: ReplyStyle, changes: ReplyChanges<'_>, out: &mut Vec<u8>) {
        self.write_status_line(out);
        match changes.edits {
            None => self.write_end_to_end_fields(out),
            Some(edits) => self.write_edited_fields(edits, out),
        }
        for (name, value) in changes.lines() {
            push_field(out, name, value.as_bytes());
        }
        if style.chunked {
            push_field(out, "Transfer-Encoding", b"chunked");
        }
        if !style.keep_alive {
            push_field(out, "Connection", b"close");
        } else if style.http10 {
            push_field(out, "Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the head of an interim response (RFC 9110 §15.2) for an HTTP/1 client; that of
    /// status `101` keeps its Upgrade field.
    pub(crate) fn write_interim_to(&self, out: &mut Vec<u8>) {
        self.write_status_line(out);
        self.write_end_to_end_fields(out);
        if self.status == 101 {
            push_field(out, "Connection", b"Upgrade");
            let upgrades =
                |field: &&httparse::Header<'_>| kind_of(field.name) == FieldKind::Upgrade;
            for field in self.fields.iter().filter(upgrades) {
                push_field(out, field.name, field.value);
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Returns the response's header fields that the client gets. Content-Length is left out where
    /// it is not allowed, and is written once if the backend repeated it (RFC 9110 §8.6).
    pub(crate) fn end_to_end_fields(&self) -> impl Iterator<Item = &httparse::Header<'_>> {
        let length_fits =
            self.framing != Framing::Chunked && self.status >= 200 && self.status != 204;
        let mut has_length = false;
        self.fields.iter().filter(move |field| {
            let wanted = match kind_of(field.name) {
                FieldKind::ContentLength => {
                    return length_fits && !std::mem::replace(&mut has_length, true);
                }
                FieldKind::Connection
                | FieldKind::TransferEncoding
                | FieldKind::Upgrade
                | FieldKind::HopByHop => false,
                _ => true,
            };
            wanted && !(self.names_fields && named_in_connection(self.fields, field.name))
        })
    }

    fn write_status_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, self.status.into());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn write_edited_fields(&self, edits: &FieldEdits, out: &mut Vec<u8>) {
        for field in self.end_to_end_fields() {
            if !edits.drops(field.name) {
                push_field(out, field.name, field.value);
            }
        }
    }

    fn write_end_to_end_fields(&self, out: &mut Vec<u8>) {
        for field in self.end_to_end_fields() {
            push_field(out, field.name, field.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::message::{header_slots, parse_response};

    const KEPT: ReplyStyle = ReplyStyle {
        http10: false,
        keep_alive: true,
        chunked: false,
    };

    fn reply(head: &str, style: ReplyStyle) -> String {
        let mut slots = header_slots();
        let response = parse_response(head.as_bytes(), &mut slots, false).expect("a good head");
        let mut out = Vec::new();
        response.write_to(style, ReplyChanges::default(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn hop_by_hop_fields_are_left_out() {
        assert_eq!(
            reply(
                "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                 Keep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\n",
                KEPT
            ),
            "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\n"
        );
    }

    #[test]
    fn a_length_that_came_twice_is_said_once() {
        for lines in [
            "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
            "Connection: Content-Length\r\nContent-Length: 5\r\ncontent-length: 5\r\n",
        ] {
            let out = reply(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), KEPT);
            assert_eq!(out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        }
    }

    #[test]
    fn the_connection_field_tells_the_client_what_happens_next() {
        let head = "HTTP/1.0 404 Not Found\r\nContent-Length: 1\r\n\r\n";
        let close = ReplyStyle {
            keep_alive: false,
            ..KEPT
        };
        assert!(reply(head, close).contains("\r\nConnection: close\r\n"));
        let http10 = ReplyStyle {
            http10: true,
            ..KEPT
        };
        assert!(reply(head, http10).contains("\r\nConnection: keep-alive\r\n"));
        assert!(!reply(head, KEPT).contains("Connection"));
    }

    #[test]
    fn a_response_without_body_has_no_length_where_none_may_be() {
        let out = reply("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", KEPT);
        assert_eq!(out, "HTTP/1.1 204 No Content\r\n\r\n");
        let out = reply(
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            KEPT,
        );
        assert!(out.contains("Content-Length: 9"), "{out}");
    }
}
