//! Responses of the admin server.

use crate::admin::Answer;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Headers of every response. Their Content-Security-Policy lets the status page use no script and
/// no style sheet but those of this server.
pub(super) const COMMON: &str = "\
Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; \
frame-ancestors 'none'\r\nConnection: close\r\n";

/// A response with its whole body.
#[derive(Debug)]
pub(super) struct Response {
    code: u16,
    content_type: &'static str,
    body: String,
    /// A header field that the response has besides those of every response, with its line end; may
    /// be empty.
    extra: &'static str,
}

impl Response {
    pub(super) fn new(code: u16, content_type: &'static str, body: String) -> Self {
        Self {
            code,
            content_type,
            body,
            extra: "",
        }
    }

    pub(super) fn text(code: u16, body: &str) -> Self {
        Self::new(code, TEXT, body.to_owned())
    }

    pub(super) fn html(body: String) -> Self {
        Self::new(200, HTML, body)
    }

    pub(super) fn json(body: String) -> Self {
        Self::new(200, JSON, body)
    }

    /// Refuses a method that the path does not support. `allow` is the header that names the
    /// supported ones.
    pub(super) fn not_allowed(allow: &'static str, body: &str) -> Self {
        Self {
            extra: allow,
            ..Self::text(405, body)
        }
    }

    /// Refuses a request without the right operator token.
    pub(super) fn unauthorized() -> Self {
        Self {
            extra: "WWW-Authenticate: Bearer\r\n",
            ..Self::text(401, "The operator token is missing or wrong.\n")
        }
    }

    /// Reports the result of a command.
    pub(super) fn answer(answer: Answer) -> Self {
        match answer {
            Answer::Done(done) => Self::text(200, &(done + "\n")),
            Answer::Error(sentence) => Self::text(409, &(sentence + "\n")),
            _ => Self::text(500, "The agent gave another answer than was asked for.\n"),
        }
    }

    /// Returns the bytes of the response as they are sent: without the body if `is_head`, that is
    /// in reply to HEAD.
    pub(super) fn to_bytes(&self, is_head: bool) -> Vec<u8> {
        let code = http::StatusCode::from_u16(self.code).unwrap_or_default();
        let reason = code.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}{COMMON}\r\n",
            self.code,
            self.content_type,
            self.body.len(),
            self.extra,
        );
        let body = if is_head { "" } else { &self.body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}
