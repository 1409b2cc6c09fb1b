//! Parses HTTP/1.1 messages strictly and rewrites them (RFC 9112).
//!
//! Pure: no I/O and no clock. Whatever two programs could interpret differently is refused here, so
//! that it never reaches a backend.

mod answer;
mod changes;
mod checks;
mod chunked;
mod cookies;
mod date;
mod field_line;
mod fields;
mod forward;
mod head;
mod host;
mod hpack;
mod huffman;
mod number;
mod own;
mod refusal;
mod reply;
mod request;
mod response;
mod translate;
mod version;

pub(super) use answer::{Answer, own_body};
pub(super) use changes::{Changes, FieldEdits, Values, path_of};
pub(super) use checks::check_question;
pub(super) use chunked::{ChunkedDecoder, Step};
pub(super) use cookies::find_cookie;
pub(super) use fields::{FieldKind, HeaderSlots, header_slots};
pub(super) use forward::Via;
pub(super) use head::HeadScanner;
pub(super) use host::host_name;
pub(super) use hpack::{BrokenBlock, FieldReader, Notice};
pub(super) use number::push_hexadecimal;
pub(super) use own::challenge_response;
pub(super) use refusal::Refusal;
pub(super) use reply::{ReplyChanges, ReplyStyle};
pub(super) use request::{Method, Request, parse_request};
pub(super) use response::{Response, parse_response};
pub(super) use translate::{Http2Request, read_http2};
pub(super) use version::{settle_request_version, settle_response_version};

/// How the end of the body of a message is determined (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// The message has no body.
    Empty,
    /// The header has a `Content-Length` of this many bytes, not 0.
    Length(u64),
    /// The header has `Transfer-Encoding: chunked`.
    Chunked,
    /// The body ends when the connection does; possible only in responses.
    UntilClose,
}
