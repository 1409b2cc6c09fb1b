//! Writes the head of a request for a backend.

use super::{
    Changes, FieldKind, Framing, Request,
    field_line::{push_field, push_length},
    fields::{kind_of, named_in_connection},
};

/// How the front received a request, and from whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Via<'a> {
    /// The client's IP address, as text.
    pub(crate) client: &'a str,
    /// Whether the client connected over TLS.
    pub(crate) https: bool,
    /// Whether the client is a proxy whose `X-Forwarded-*` fields are trusted.
    pub(crate) trusted: bool,
    /// Header lines about the client's certificate, CR LF included; `None` if the client presented
    /// none.
    pub(crate) certificate: Option<&'a [u8]>,
    /// The address that the service listens on: it becomes the Host of requests that have none.
    pub(crate) local: &'a str,
}

impl Via<'_> {
    /// Returns whether received header fields about client certificates are forwarded: only from a
    /// trusted proxy that presented no certificate itself (RFC 9440 §4).
    pub(crate) fn passes_certificates(&self) -> bool {
        self.trusted && self.certificate.is_none()
    }
}

/// The `X-Forwarded-*` fields that the front received with a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded<'b> {
    /// The values of all `X-Forwarded-For` lines, in the order of the lines.
    pub(crate) chain: Vec<&'b [u8]>,
    /// The value of the last `X-Forwarded-Proto` line; `None` if there was none.
    pub(crate) proto: Option<&'b [u8]>,
    /// The value of the last `X-Forwarded-Host` line; `None` if there was none.
    pub(crate) host: Option<&'b [u8]>,
}

impl Request<'_, '_> {
    /// Appends the request head for the backend: without hop-by-hop fields, with the front's own
    /// framing and `X-Forwarded-*` fields, and with `changes` applied; everything else is
    /// unchanged.
    pub(crate) fn write_to(&self, via: &Via<'_>, changes: &Changes<'_>, out: &mut Vec<u8>) {
        self.write_request_line(changes.target.unwrap_or(self.target), out);
        let host = self.host.unwrap_or(via.local);
        push_field(out, "Host", host.as_bytes());
        let mut forwarded = Forwarded::default();
        for field in self.fields {
            let kind = kind_of(field.name);
            let wanted = match kind {
                FieldKind::EndToEnd => true,
                FieldKind::Expect => self.expects_continue,
                FieldKind::ForwardedOther => via.trusted,
                FieldKind::ClientCertificate => via.passes_certificates(),
                FieldKind::ForwardedFor | FieldKind::ForwardedProto | FieldKind::ForwardedHost => {
                    if via.trusted && !self.is_named(field.name) {
                        forwarded.add(kind, field.value);
                    }
                    false
                }
                _ => false,
            };
            if wanted && !self.is_named(field.name) && changes.keeps(field.name) {
                if changes.hidden_cookie.is_some() && field.name.eq_ignore_ascii_case("cookie") {
                    push_cookie_line(changes, field.value, out);
                } else {
                    push_field(out, field.name, field.value);
                }
            }
        }
        write_forwarded(out, via, &forwarded, host.as_bytes());
        changes.push_lines(out);
        self.write_framing(out);
        if let Some(protocols) = self.upgrade {
            push_field(out, "Connection", b"Upgrade");
            push_field(out, "Upgrade", protocols);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_request_line(&self, target: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.0.as_bytes());
        out.push(b' ');
        if target.is_empty() && self.method.0 == "OPTIONS" {
            out.push(b'*');
        } else if !target.starts_with(['/', '*']) {
            out.push(b'/');
        }
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// Appends the header line that says where the request's body ends. A Content-Length of 0 is
    /// kept, because some backends require one with POST.
    fn write_framing(&self, out: &mut Vec<u8>) {
        match self.framing {
            Framing::Length(length) => push_length(out, length),
            Framing::Chunked => push_field(out, "Transfer-Encoding", b"chunked"),
            Framing::Empty | Framing::UntilClose => {
                let kept =
                    |field: &httparse::Header<'_>| kind_of(field.name) == FieldKind::ContentLength;
                if self.fields.iter().any(kept) {
                    push_length(out, 0);
                }
            }
        }
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
            FieldKind::Upgrade => return self.upgrade.is_some_and(test),
            FieldKind::EndToEnd => {}
            FieldKind::ForwardedFor
            | FieldKind::ForwardedProto
            | FieldKind::ForwardedHost
            | FieldKind::ForwardedOther
                if trusted => {}
            _ => return false,
        }
        let mut lines = self
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        lines.any(|field| test(field.value)) && !self.is_named(name)
    }

    fn is_named(&self, name: &str) -> bool {
        self.names_fields && named_in_connection(self.fields, name)
    }
}

impl<'b> Forwarded<'b> {
    /// Adds the value of a received field if its class is one of the three `X-Forwarded-*` fields.
    pub(crate) fn add(&mut self, kind: FieldKind, value: &'b [u8]) {
        match kind {
            FieldKind::ForwardedFor => self.chain.push(value),
            FieldKind::ForwardedProto => self.proto = Some(value),
            FieldKind::ForwardedHost => self.host = Some(value),
            _ => {}
        }
    }
}

/// Appends the three `X-Forwarded-*` fields: if the client is a trusted proxy, with the values that
/// it sent, extended; otherwise with the front's own values.
pub(crate) fn write_forwarded(out: &mut Vec<u8>, via: &Via<'_>, came: &Forwarded<'_>, host: &[u8]) {
    let scheme: &[u8] = if via.https { b"https" } else { b"http" };
    out.extend_from_slice(b"X-Forwarded-For: ");
    for address in &came.chain {
        out.extend_from_slice(address);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(via.client.as_bytes());
    out.extend_from_slice(b"\r\n");
    push_field(out, "X-Forwarded-Proto", came.proto.unwrap_or(scheme));
    push_field(out, "X-Forwarded-Host", came.host.unwrap_or(host));
    if let Some(fields) = via.certificate {
        out.extend_from_slice(fields);
    }
}

fn push_cookie_line(changes: &Changes<'_>, line: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    changes.push_cookies(line, b"Cookie: ", out);
    if out.len() > before {
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::message::{header_slots, parse_request};

    const VIA: Via<'_> = Via {
        client: "192.0.2.7",
        https: true,
        trusted: false,
        certificate: None,
        local: "192.0.2.1:443",
    };

    fn forwarded(head: &str, via: &Via<'_>) -> String {
        let mut slots = header_slots();
        let request = parse_request(head.as_bytes(), &mut slots, via.https).expect("a good head");
        let mut out = Vec::new();
        request.write_to(via, &Changes::default(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn end_to_end_fields_go_through_and_the_proxy_s_own_are_added() {
        assert_eq!(
            forwarded(
                "POST /a?b HTTP/1.1\r\nHost: a.example\r\nCookie: x=1\r\nContent-Length: 3\r\n\r\n",
                &VIA
            ),
            "POST /a?b HTTP/1.1\r\nHost: a.example\r\nCookie: x=1\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: a.example\r\nContent-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn hop_by_hop_fields_and_those_named_in_connection_are_left_out() {
        let out = forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nKeep-Alive: 5\r\n\
             X-Secret: 1\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: close\r\n\
             Upgrade: websocket\r\nHTTP2-Settings: AAA\r\nAccept: */*\r\n\r\n",
            &VIA,
        );
        assert_eq!(
            out,
            "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n\r\n"
        );
    }

    #[test]
    fn a_connection_field_cannot_take_away_host_or_framing() {
        let out = forwarded(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: Host, Content-Length, X-Forwarded-For\r\n\
             Content-Length: 1\r\n\r\n",
            &VIA,
        );
        assert!(out.contains("\r\nHost: a\r\n"), "{out}");
        assert!(out.contains("\r\nContent-Length: 1\r\n"), "{out}");
        assert!(out.contains("\r\nX-Forwarded-For: 192.0.2.7\r\n"), "{out}");
    }

    const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.9.9\r\n\
        X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil\r\nX_Forwarded_For: 1\r\n\
        X-Forwarded-Port: 1\r\nForwarded: for=1\r\nX-Forwarded-For: 10.8.8.8\r\n\r\n";

    #[test]
    fn forwarding_fields_of_a_stranger_are_replaced() {
        assert_eq!(
            forwarded(SPOOFED, &VIA),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n\r\n"
        );
    }

    #[test]
    fn forwarding_fields_of_a_trusted_proxy_are_extended() {
        let via = Via {
            trusted: true,
            ..VIA
        };
        assert_eq!(
            forwarded(SPOOFED, &via),
            "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nX-Forwarded-Port: 1\r\n\
             Forwarded: for=1\r\nX-Forwarded-For: 10.9.9.9, 10.8.8.8, 192.0.2.7\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil\r\n\r\n"
        );
    }

    const CERTIFICATES: &str = "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :x:\r\n\
        client_cert_chain: :y:\r\nX-Client-Cert-Subject: CN=root\r\nX_CLIENT_CERT: z\r\n\r\n";

    #[test]
    fn what_a_stranger_says_of_a_certificate_is_replaced_by_what_was_shown() {
        let out = forwarded(CERTIFICATES, &VIA);
        assert!(
            !out.to_ascii_lowercase()
                .replace('_', "-")
                .contains("client-cert"),
            "{out}"
        );
        for trusted in [false, true] {
            let shown = Via {
                trusted,
                certificate: Some(b"Client-Cert: :mine:\r\n"),
                ..VIA
            };
            let out = forwarded(CERTIFICATES, &shown);
            assert!(out.contains("\r\nClient-Cert: :mine:\r\n"), "{out}");
            assert_eq!(out.to_ascii_lowercase().matches("cert").count(), 1, "{out}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_says_of_a_certificate_is_passed_on() {
        let via = Via {
            trusted: true,
            ..VIA
        };
        assert!(forwarded(CERTIFICATES, &via).contains("X-Client-Cert-Subject: CN=root\r\n"));
    }

    #[test]
    fn an_upgrade_is_passed_on_but_never_one_to_clear_text_http2() {
        let websocket = forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
            &VIA,
        );
        assert!(
            websocket.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            "{websocket}"
        );
        let h2c = forwarded(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABk\r\n\r\n",
            &VIA,
        );
        assert!(!h2c.to_ascii_lowercase().contains("upgrade"), "{h2c}");
        assert!(!h2c.to_ascii_lowercase().contains("settings"), "{h2c}");
    }

    #[test]
    fn an_absolute_target_becomes_a_path() {
        for (target, line) in [
            ("http://a/x?y", "GET /x?y HTTP/1.1\r\n"),
            ("HTTPS://A:443", "GET / HTTP/1.1\r\n"),
            ("https://a?q", "GET /?q HTTP/1.1\r\n"),
        ] {
            let out = forwarded(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), &VIA);
            assert!(out.starts_with(line), "{target}: {out}");
        }
        let out = forwarded("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", &VIA);
        assert!(out.starts_with("OPTIONS * HTTP/1.1\r\n"), "{out}");
    }

    #[test]
    fn a_client_without_host_is_given_the_address_it_connected_to() {
        let out = forwarded("GET / HTTP/1.0\r\n\r\n", &VIA);
        assert!(out.contains("\r\nHost: 192.0.2.1:443\r\n"), "{out}");
    }

    #[test]
    fn a_length_of_zero_is_kept() {
        let out = forwarded(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            &VIA,
        );
        assert!(out.contains("\r\nContent-Length: 0\r\n"), "{out}");
    }
}
