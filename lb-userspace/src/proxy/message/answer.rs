//! Responses that the front creates itself.

use std::{borrow::Cow, time::SystemTime};

use super::{
    FieldEdits, Refusal,
    date::http_date,
    field_line::push_field,
    own::{own_text, reason_phrase},
};

/// A response that the front creates itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The status of the response, 200 to 599.
    pub(crate) status: u16,
    /// The content type and the body; `None` if the response has no body.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
    /// The target of a redirect; `None` if the response is no redirect.
    pub(crate) location: Option<&'a str>,
    /// Whether the response reports a failure, which must not be cached.
    pub(crate) failure: bool,
    /// The edits that a service and its route make to the header; `None` if there are none.
    pub(crate) edits: Option<&'a FieldEdits>,
}

/// Returns the content type and the text of the front's default answer for a status.
pub(crate) fn own_body(status: u16, refusal: Option<Refusal>) -> (&'static str, Vec<u8>) {
    let text = own_text(status, refusal);
    ("text/plain; charset=utf-8", text.into_bytes())
}

impl Answer<'_> {
    /// Returns the header fields of the response, whose `Date` is the time `now`.
    pub(crate) fn fields(&self, now: SystemTime) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        // Content-Length is not allowed with status 204, and with 304 it would describe another
        // response (RFC 9110 §8.6).
        let has_length = !matches!(self.status, 204 | 304);
        let length = self.body.map_or(0, |(_, body)| body.len());
        let own = [
            Some(("Date", Cow::Owned(http_date(now)))),
            self.body
                .map(|(content_type, _)| ("Content-Type", Cow::Borrowed(content_type))),
            has_length.then(|| ("Content-Length", Cow::Owned(length.to_string()))),
            self.location
                .map(|location| ("Location", Cow::Borrowed(location))),
            self.failure
                .then_some(("Cache-Control", Cow::Borrowed("no-store"))),
            (self.failure && self.status == 503).then_some(("Retry-After", Cow::Borrowed("1"))),
        ];
        let edits = self.edits;
        let kept = move |(name, _): &(&str, Cow<'_, str>)| {
            edits.is_none_or(|edits| *name == "Content-Length" || !edits.drops(name))
        };
        let lines = edits.into_iter().flat_map(FieldEdits::fixed_lines);
        own.into_iter().flatten().filter(kept).chain(lines)
    }

    /// Returns the bytes of the body; empty if the response has no body.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.body.map_or(&[], |(_, body)| body)
    }

    /// Appends the complete response in HTTP/1. Returns the length of its body in bytes.
    pub(crate) fn write_to(
        &self,
        (keep_alive, to_head): (bool, bool),
        now: SystemTime,
        out: &mut Vec<u8>,
    ) -> usize {
        let line = format!(
            "HTTP/1.1 {} {}\r\n",
            self.status,
            reason_phrase(self.status)
        );
        out.extend_from_slice(line.as_bytes());
        for (name, value) in self.fields(now) {
            push_field(out, name, value.as_bytes());
        }
        let connection: &[u8] = if keep_alive { b"keep-alive" } else { b"close" };
        push_field(out, "Connection", connection);
        out.extend_from_slice(b"\r\n");
        if to_head {
            return 0;
        }
        out.extend_from_slice(self.bytes());
        self.bytes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HeaderEdits, Template, TemplatePart},
        proxy::message::{Framing, header_slots, parse_response},
    };

    fn written(answer: &Answer<'_>, to_head: bool) -> String {
        let mut out = Vec::new();
        answer.write_to((true, to_head), SystemTime::UNIX_EPOCH, &mut out);
        String::from_utf8(out).expect("text")
    }

    const REDIRECT: Answer<'_> = Answer {
        status: 308,
        body: None,
        location: Some("https://a/x"),
        failure: false,
        edits: None,
    };

    #[test]
    fn every_answer_is_a_good_response() {
        for status in 200..=599 {
            let body = (!matches!(status, 204 | 205 | 304)).then_some(("text/plain", &b"x"[..]));
            let answer = Answer {
                status,
                body,
                ..REDIRECT
            };
            let text = written(&answer, false);
            let (head, _) = text.split_at(text.find("\r\n\r\n").expect("a head") + 4);
            let mut slots = header_slots();
            let response = parse_response(head.as_bytes(), &mut slots, false).expect("good");
            assert_eq!(response.status, status);
            let framing = body.map_or(Framing::Empty, |_| Framing::Length(1));
            assert_eq!(response.framing, framing, "{status}");
            assert!(response.keep_alive);
        }
    }

    #[test]
    fn a_redirect_has_a_location_and_no_body() {
        let text = written(&REDIRECT, false);
        assert_eq!(
            text,
            "HTTP/1.1 308 Permanent Redirect\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Length: 0\r\nLocation: https://a/x\r\nConnection: keep-alive\r\n\r\n"
        );
        assert_eq!(written(&REDIRECT, true), text);
    }

    #[test]
    fn edits_change_all_but_the_length() {
        let value = Template(vec![TemplatePart::Text("2".to_owned())]);
        let edits = HeaderEdits {
            set: vec![("retry-after".into(), value)],
            add: Vec::new(),
            remove: vec!["Date".into(), "Content_Length".into()],
        };
        let edits = FieldEdits::new(&edits, None);
        let answer = Answer {
            status: 503,
            body: Some(("text/html", b"down")),
            location: None,
            failure: true,
            edits: Some(&edits),
        };
        assert_eq!(
            written(&answer, true),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\
             Cache-Control: no-store\r\nretry-after: 2\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
