//! Translates HTTP/2 requests to HTTP/1.1 (RFC 9113 §8.3), with the same strict checks as for
//! HTTP/1.

use http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{
    Changes, Framing, Notice, Refusal, Via,
    checks::{check_expectation, check_method, check_target_text, is_origin_form},
    field_line::{push_field, push_length},
    fields::{FieldKind, MAX_FIELDS, kind_of, parse_length},
    forward::{Forwarded, write_forwarded},
    host::{is_host, same_host},
};

/// An HTTP/2 request that may be forwarded.
#[derive(Debug)]
pub(crate) struct Http2Request<'p> {
    parts: &'p Parts,
    /// The host that the request names, with its port if it has one.
    pub(crate) host: &'p str,
    /// The path with its query, or `*`.
    pub(crate) target: &'p str,
    /// How the end of the body is marked in the HTTP/1.1 request to the backend.
    pub(crate) framing: Framing,
    length: Option<u64>,
}

/// Validates an HTTP/2 request. `ended`: the client has declared that the request has no body.
/// `notice`: what was found and replaced in the field block from which `parts` was read. `https`:
/// the client connected over TLS.
///
/// # Errors
/// The first thing found that makes the request unsafe to forward.
pub(crate) fn read_http2<'p>(
    (parts, notice): (&'p Parts, &'p Notice),
    ended: bool,
    https: bool,
) -> Result<Http2Request<'p>, Refusal> {
    let host = host(parts, https)?;
    let target = target(parts, notice.target.as_deref())?;
    let length = length(&parts.headers)?;
    let framing = match (ended, length) {
        (true, Some(1..)) => return Err(Refusal::ContentLength),
        (true, _) | (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    check_method(parts.method.as_str(), framing)?;
    Ok(Http2Request {
        parts,
        host,
        target,
        framing,
        length,
    })
}

impl Http2Request<'_> {
    /// Appends the request's HTTP/1.1 head for the backend, with `changes` applied.
    ///
    /// # Errors
    /// The same as of [`Self::check_fields`].
    pub(crate) fn write_to(
        &self,
        via: &Via<'_>,
        changes: &Changes<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        out.extend_from_slice(self.parts.method.as_str().as_bytes());
        out.push(b' ');
        let target = changes.target.unwrap_or(self.target);
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_field(out, "Host", self.host.as_bytes());
        let forwarded = write_fields(&self.parts.headers, via, changes, out)?;
        write_forwarded(out, via, &forwarded, self.host.as_bytes());
        changes.push_lines(out);
        match (self.framing, self.length) {
            (Framing::Chunked, _) => push_field(out, "Transfer-Encoding", b"chunked"),
            (_, Some(length)) => push_length(out, length),
            (_, None) => {}
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Validates the header fields of a request that is not forwarded, because the front answers
    /// it.
    ///
    /// # Errors
    /// The request has a forbidden field, or too many fields.
    pub(crate) fn check_fields(&self) -> Result<(), Refusal> {
        check_number(&self.parts.headers)?;
        let mut fields = self.parts.headers.iter();
        fields.try_for_each(|(name, value)| check_field(kind_of(name.as_str()), value))
    }

    /// Returns whether the request has a header line of this name that is forwarded to the backend
    /// and whose value passes `test`.
    pub(crate) fn has_field(
        &self,
        trusted: bool,
        name: &str,
        test: impl Fn(&[u8]) -> bool,
    ) -> bool {
        match kind_of(name) {
            FieldKind::EndToEnd => {}
            FieldKind::ForwardedFor
            | FieldKind::ForwardedProto
            | FieldKind::ForwardedHost
            | FieldKind::ForwardedOther
                if trusted => {}
            _ => return false,
        }
        let lines = self.parts.headers.get_all(name).iter();
        if name.eq_ignore_ascii_case("cookie") {
            let cookies: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
            return !cookies.is_empty() && test(&cookies.join(&b"; "[..]));
        }
        lines.map(HeaderValue::as_bytes).any(test)
    }
}

/// Returns the host of a request: the value of `:authority`, or of Host if the request lacks that.
fn host(parts: &Parts, https: bool) -> Result<&str, Refusal> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::Host);
    }
    let field = field
        .map(|value| std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::Host))
        .transpose()?;
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or(field).ok_or(Refusal::Host)?;
    if !is_host(host.as_bytes()) {
        return Err(Refusal::Host);
    }
    match field {
        Some(field) if !same_host(field.as_bytes(), host.as_bytes(), https) => {
            Err(Refusal::HostMismatch)
        }
        _ => Ok(host),
    }
}

fn target<'p>(parts: &'p Parts, sent: Option<&'p [u8]>) -> Result<&'p str, Refusal> {
    check_method(parts.method.as_str(), Framing::Empty)?;
    let target = match (sent, parts.uri.path_and_query()) {
        (Some(sent), _) => std::str::from_utf8(sent).map_err(|_| Refusal::Target)?,
        (None, Some(target)) => target.as_str(),
        (None, None) => "",
    };
    check_target_text(target.as_bytes())?;
    if is_origin_form(parts.method.as_str(), target) {
        Ok(target)
    } else {
        Err(Refusal::Target)
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::ContentLength);
    }
    parse_length(value.as_bytes())
        .map(Some)
        .ok_or(Refusal::ContentLength)
}

fn check_number(headers: &HeaderMap) -> Result<(), Refusal> {
    // HTTP/2 clients may send cookies as separate fields; the front joins them to one line.
    let cookies = headers.get_all(header::COOKIE).iter().count();
    if headers.len() - cookies.saturating_sub(1) > MAX_FIELDS {
        return Err(Refusal::TooManyHeaders);
    }
    Ok(())
}

fn check_field(kind: FieldKind, value: &HeaderValue) -> Result<(), Refusal> {
    match kind {
        FieldKind::Expect => check_expectation(value.as_bytes()),
        // An HTTP/2 request with one of these fields is malformed (RFC 9113 §8.2.2).
        FieldKind::Connection | FieldKind::TransferEncoding | FieldKind::Upgrade => {
            Err(Refusal::HeaderLine)
        }
        _ => Ok(()),
    }
}

/// Appends the header fields of a request for the backend, with its cookies joined to one line (RFC
/// 9113 §8.2.3).
fn write_fields<'p>(
    headers: &'p HeaderMap,
    via: &Via<'_>,
    changes: &Changes<'_>,
    out: &mut Vec<u8>,
) -> Result<Forwarded<'p>, Refusal> {
    check_number(headers)?;
    let mut forwarded = Forwarded::default();
    for (name, value) in headers {
        let kind = kind_of(name.as_str());
        check_field(kind, value)?;
        let wanted = match kind {
            FieldKind::EndToEnd => name != header::COOKIE,
            FieldKind::ForwardedOther => via.trusted,
            FieldKind::ClientCertificate => via.passes_certificates(),
            FieldKind::Expect => true,
            FieldKind::ForwardedFor | FieldKind::ForwardedProto | FieldKind::ForwardedHost => {
                if via.trusted {
                    forwarded.add(kind, value.as_bytes());
                }
                false
            }
            _ => false,
        };
        if wanted && changes.keeps(name.as_str()) {
            push_field(out, name.as_str(), value.as_bytes());
        }
    }
    if changes.keeps("Cookie") {
        write_cookies(headers, changes, out);
    }
    Ok(forwarded)
}

fn write_cookies(headers: &HeaderMap, changes: &Changes<'_>, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"Cookie: ";
    for cookie in headers.get_all(header::COOKIE) {
        let before = out.len();
        changes.push_cookies(cookie.as_bytes(), separator, out);
        if out.len() > before {
            separator = b"; ";
        }
    }
    if separator == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIA: Via<'_> = Via {
        client: "192.0.2.7",
        https: true,
        trusted: false,
        certificate: None,
        local: "192.0.2.1:443",
    };

    fn translated(
        (method, uri): (&str, &str),
        fields: &[(&str, &str)],
        ended: bool,
    ) -> Result<(String, Framing), Refusal> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let mut out = Vec::new();
        let notice = Notice::default();
        let head = (&parts, &notice);
        let request = read_http2(head, ended, VIA.https)?;
        request.write_to(&VIA, &Changes::default(), &mut out)?;
        let framing = request.framing;
        Ok((String::from_utf8(out).expect("text"), framing))
    }

    fn refused(target: (&str, &str), fields: &[(&str, &str)], ended: bool) -> Refusal {
        translated(target, fields, ended).expect_err("to be refused")
    }

    #[test]
    fn pseudo_headers_become_the_request_line_and_host() {
        let fields = [
            ("cookie", "a=1"),
            ("accept", "*/*"),
            ("cookie", "b=2"),
            ("te", "trailers"),
        ];
        let (head, framing) =
            translated(("GET", "https://a.example/x?y"), &fields, true).expect("good");
        assert_eq!(framing, Framing::Empty);
        assert_eq!(
            head,
            "GET /x?y HTTP/1.1\r\nHost: a.example\r\naccept: */*\r\nCookie: a=1; b=2\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: a.example\r\n\r\n"
        );
    }

    #[test]
    fn a_body_without_length_is_chunked() {
        let post = ("POST", "https://a/");
        let (head, framing) = translated(post, &[], false).expect("good");
        assert_eq!(framing, Framing::Chunked);
        assert!(
            head.ends_with("Transfer-Encoding: chunked\r\n\r\n"),
            "{head}"
        );
        let length = [("content-length", "7")];
        let (head, framing) = translated(post, &length, false).expect("good");
        assert_eq!(framing, Framing::Length(7));
        assert!(head.ends_with("Content-Length: 7\r\n\r\n"), "{head}");
    }

    #[test]
    fn forwarding_fields_of_a_stranger_are_replaced() {
        let fields = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-port", "1"),
            ("forwarded", "x"),
        ];
        let (head, _) = translated(("GET", "https://a/"), &fields, true).expect("good");
        assert!(head.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{head}");
        assert!(
            !head.contains("1.1.1.1") && !head.contains("port") && !head.contains("forwarded:"),
            "{head}"
        );
    }

    #[test]
    fn fields_of_a_connection_are_refused() {
        for field in ["connection", "transfer-encoding", "upgrade"] {
            assert_eq!(
                refused(("GET", "https://a/"), &[(field, "x")], true),
                Refusal::HeaderLine
            );
        }
    }

    #[test]
    fn hosts_that_disagree_or_are_none_are_refused() {
        let get = ("GET", "https://a/");
        assert_eq!(refused(get, &[("host", "b")], true), Refusal::HostMismatch);
        assert_eq!(
            refused(get, &[("host", "a"), ("host", "a")], true),
            Refusal::Host
        );
        assert_eq!(refused(("GET", "/"), &[], true), Refusal::Host);
        assert_eq!(refused(("GET", "https://u@a/"), &[], true), Refusal::Host);
        assert!(translated(("GET", "/"), &[("host", "a")], true).is_ok());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let post = ("POST", "https://a/");
        for fields in [
            &[("content-length", "x")][..],
            &[("content-length", "1"), ("content-length", "1")],
        ] {
            assert_eq!(refused(post, fields, false), Refusal::ContentLength);
        }
        let length = [("content-length", "1")];
        assert_eq!(refused(post, &length, true), Refusal::ContentLength);
    }
}
