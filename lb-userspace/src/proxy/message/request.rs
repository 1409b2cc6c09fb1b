//! Parses the heads of HTTP/1 requests strictly.

use super::{
    Framing, HeaderSlots, Refusal,
    checks::{check_expectation, check_method, check_target_text, is_origin_form},
    fields::{FieldKind, kind_of, list_members, parse_length},
    host::{is_host, same_host},
    version::is_version,
};

/// A request head that may be forwarded: its framing is unambiguous.
#[derive(Debug)]
pub(crate) struct Request<'b, 'h> {
    /// The method of the request.
    pub(crate) method: Method<'b>,
    /// The target in origin form (a path with its query), except that `/` may be missing before `?`
    /// or the end; or `*`.
    pub(crate) target: &'b str,
    /// The host that the request names, with its port if it has one; always present in HTTP/1.1.
    pub(crate) host: Option<&'b str>,
    /// Whether the client speaks HTTP/1.0.
    pub(crate) http10: bool,
    /// How the end of the body is determined; never [`Framing::UntilClose`].
    pub(crate) framing: Framing,
    /// Whether the client wants to reuse its connection.
    pub(crate) keep_alive: bool,
    /// The protocols that the client offers to switch to; `None` if it offers none that may be
    /// forwarded.
    pub(crate) upgrade: Option<&'b [u8]>,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    /// Whether a Connection field names other header fields, which must be removed.
    pub(crate) names_fields: bool,
    /// All header lines, as the client sent them.
    pub(crate) fields: &'h [httparse::Header<'b>],
}

/// The method of a request, such as `GET`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Method<'b>(pub(crate) &'b str);

impl Method<'_> {
    /// Returns whether a request with this method may be sent again after it may have reached a
    /// backend (RFC 9110 §9.2.2).
    pub(crate) fn is_idempotent(self) -> bool {
        matches!(
            self.0,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        )
    }

    /// Returns whether the method is HEAD, whose response has no body, whatever its header says.
    pub(crate) fn is_head(self) -> bool {
        self.0 == "HEAD"
    }
}

/// Parses a complete request head, as delimited by [`super::HeadScanner`]. `https` says whether the
/// client connected over TLS.
///
/// # Errors
/// The first thing found that makes the request unsafe to forward.
pub(crate) fn parse_request<'b, 'h>(
    head: &'b [u8],
    slots: &'h mut HeaderSlots<'b>,
    https: bool,
) -> Result<Request<'b, 'h>, Refusal> {
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut parsed,
        head,
        slots,
    ) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Refusal::HeaderLine),
        Err(error) => return Err(refusal_of(error, head)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::RequestLine);
    };
    if head[0] == b'\r' {
        return Err(Refusal::RequestLine);
    }
    let http10 = minor == 0;
    let facts = FieldFacts::collect(parsed.headers)?;
    let host = facts.host(http10)?;
    Ok(Request {
        method: Method(method),
        target: parse_target(method, target, host, https)?,
        host,
        http10,
        framing: facts.framing(method, http10)?,
        keep_alive: !facts.close && (!http10 || facts.keep_alive),
        upgrade: facts.upgrade(http10),
        expects_continue: facts.expects_continue && !http10,
        names_fields: facts.names_fields,
        fields: parsed.headers,
    })
}

fn refusal_of(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::Version => version_refusal(head),
        // The request line has another word after the version.
        httparse::Error::NewLine if version_refusal(head) == Refusal::RequestLine => {
            Refusal::RequestLine
        }
        httparse::Error::NewLine => Refusal::BareLineEnd,
        httparse::Error::Token => Refusal::RequestLine,
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders,
        _ => Refusal::HeaderLine,
    }
}

/// Returns what is wrong with a request line that does not end in a version of HTTP/1.
fn version_refusal(head: &[u8]) -> Refusal {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or(head);
    let mut words = line.split(|byte| *byte == b' ');
    match words.next_back() {
        Some(last) if !is_version(last) => Refusal::RequestLine,
        // The request line has a method, and more than one word where the target should be.
        _ if words.count() > 2 => Refusal::Target,
        _ => Refusal::Version,
    }
}

/// What the header lines of a request determine about its framing and its connection.
#[derive(Default)]
struct FieldFacts<'b> {
    host: Option<&'b [u8]>,
    length: Option<&'b [u8]>,
    transfer: Option<&'b [u8]>,
    upgrade: Option<&'b [u8]>,
    close: bool,
    keep_alive: bool,
    asks_upgrade: bool,
    names_fields: bool,
    expects_continue: bool,
}

impl<'b> FieldFacts<'b> {
    fn collect(fields: &[httparse::Header<'b>]) -> Result<Self, Refusal> {
        let mut facts = Self::default();
        for field in fields {
            match kind_of(field.name) {
                FieldKind::Host => only_one(&mut facts.host, field.value, Refusal::Host)?,
                FieldKind::ContentLength => {
                    only_one(&mut facts.length, field.value, Refusal::ContentLength)?;
                }
                FieldKind::TransferEncoding => {
                    only_one(&mut facts.transfer, field.value, Refusal::TransferEncoding)?;
                }
                FieldKind::Upgrade => facts.upgrade = Some(field.value),
                FieldKind::Connection => facts.read_connection(field.value),
                FieldKind::Expect => {
                    check_expectation(field.value)?;
                    facts.expects_continue = true;
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    fn read_connection(&mut self, value: &[u8]) {
        for member in list_members(value) {
            if member.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if member.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if member.eq_ignore_ascii_case(b"upgrade") {
                self.asks_upgrade = true;
            } else {
                self.names_fields = true;
            }
        }
    }

    fn host(&self, http10: bool) -> Result<Option<&'b str>, Refusal> {
        match self.host {
            Some(host) if is_host(host) => std::str::from_utf8(host)
                .map(Some)
                .map_err(|_| Refusal::Host),
            None if http10 => Ok(None),
            _ => Err(Refusal::Host),
        }
    }

    fn framing(&self, method: &str, http10: bool) -> Result<Framing, Refusal> {
        let framing = match (self.transfer, self.length) {
            (Some(_), Some(_)) => return Err(Refusal::AmbiguousLength),
            (Some(_), None) if http10 => return Err(Refusal::TransferEncoding),
            (Some(coding), None) => transfer_framing(coding)?,
            (None, Some(length)) => match parse_length(length).ok_or(Refusal::ContentLength)? {
                0 => Framing::Empty,
                length => Framing::Length(length),
            },
            (None, None) => Framing::Empty,
        };
        check_method(method, framing)?;
        Ok(framing)
    }

    /// Returns the protocols that the client offers to switch to, if the offer may be forwarded;
    /// `None` if forwarding it would allow request smuggling. An offer of cleartext HTTP/2 is never
    /// forwarded, because the front could not see the requests that follow.
    fn upgrade(&self, http10: bool) -> Option<&'b [u8]> {
        let has_body = self.transfer.is_some() || self.length.is_some_and(|length| length != b"0");
        self.upgrade.filter(|protocols| {
            self.asks_upgrade
                && !http10
                && !has_body
                && list_members(protocols).all(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
        })
    }
}

fn only_one<'b>(
    slot: &mut Option<&'b [u8]>,
    value: &'b [u8],
    refusal: Refusal,
) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(refusal),
    }
}

fn transfer_framing(coding: &[u8]) -> Result<Framing, Refusal> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let chunked = |member: &[u8]| member.eq_ignore_ascii_case(b"chunked");
    let ends_in_chunked = list_members(coding).last().is_some_and(chunked);
    let chunked_once = list_members(coding)
        .filter(|member| chunked(member))
        .count()
        == 1;
    if ends_in_chunked && chunked_once && list_members(coding).count() > 1 {
        Err(Refusal::TransferCoding)
    } else {
        Err(Refusal::TransferEncoding)
    }
}

/// Returns the target of a request in origin form (a path with its query), or `*` (RFC 9112 §3.2).
fn parse_target<'b>(
    method: &str,
    target: &'b str,
    host: Option<&str>,
    https: bool,
) -> Result<&'b str, Refusal> {
    check_method(method, Framing::Empty)?;
    check_target_text(target.as_bytes())?;
    if is_origin_form(method, target) {
        return Ok(target);
    }
    let after_scheme = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| strip_scheme(target, scheme))
        .ok_or(Refusal::Target)?;
    let (authority, rest) =
        after_scheme.split_at(after_scheme.find(['/', '?']).unwrap_or(after_scheme.len()));
    if !is_host(authority.as_bytes()) {
        return Err(Refusal::Target);
    }
    match host {
        Some(host) if same_host(host.as_bytes(), authority.as_bytes(), https) => Ok(rest),
        _ => Err(Refusal::HostMismatch),
    }
}

fn strip_scheme<'b>(target: &'b str, scheme: &str) -> Option<&'b str> {
    let (start, rest) = target.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
