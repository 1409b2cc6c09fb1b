//! Classifies header fields by how the front treats them.

use std::mem::MaybeUninit;

/// Limit of the number of header lines in a head.
pub(crate) const MAX_FIELDS: usize = 100;

/// Uninitialised storage for the header lines of one head: clearing it for each head would take
/// time.
pub(crate) type HeaderSlots<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Returns uninitialised storage for the header lines of one head.
pub(crate) fn header_slots<'b>() -> HeaderSlots<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// The class of a header field, by how the front treats the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FieldKind {
    /// The field `Connection`.
    Connection,
    /// The field `Content-Length`.
    ContentLength,
    /// The field `Expect`.
    Expect,
    /// The field `Host`.
    Host,
    /// The field `Transfer-Encoding`.
    TransferEncoding,
    /// The field `Upgrade`.
    Upgrade,
    /// The field `X-Forwarded-For`.
    ForwardedFor,
    /// The field `X-Forwarded-Proto`.
    ForwardedProto,
    /// The field `X-Forwarded-Host`.
    ForwardedHost,
    /// Another field about a request's origin: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, also
    /// spelled with underscores, which CGI-like backends read as the same name.
    ForwardedOther,
    /// A field about the client's certificate: `Client-Cert`, `Client-Cert-Chain` (RFC 9440),
    /// `X-Client-Cert-*`, also spelled with underscores.
    ClientCertificate,
    /// Another hop-by-hop field, which is not forwarded (RFC 9110 §7.6.1).
    HopByHop,
    /// Any other field, which is forwarded unchanged.
    EndToEnd,
}

/// Returns the class of the header field with this name, in upper or lower case.
pub(crate) fn kind_of(name: &str) -> FieldKind {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => FieldKind::HopByHop,
        4 if is("host") => FieldKind::Host,
        6 if is("expect") => FieldKind::Expect,
        7 if is("upgrade") => FieldKind::Upgrade,
        7 if is("trailer") => FieldKind::HopByHop,
        9 if is("forwarded") => FieldKind::ForwardedOther,
        9 if begins_as(name, b"x-real-ip") => FieldKind::ForwardedOther,
        10 if is("connection") => FieldKind::Connection,
        10 if is("keep-alive") => FieldKind::HopByHop,
        14 if is("content-length") => FieldKind::ContentLength,
        14 if is("http2-settings") => FieldKind::HopByHop,
        15 if is("x-forwarded-for") => FieldKind::ForwardedFor,
        16 if is("x-forwarded-host") => FieldKind::ForwardedHost,
        16 if is("proxy-connection") => FieldKind::HopByHop,
        17 if is("transfer-encoding") => FieldKind::TransferEncoding,
        17 if is("x-forwarded-proto") => FieldKind::ForwardedProto,
        11.. if names_a_certificate(name) => FieldKind::ClientCertificate,
        12.. if begins_as(name, b"x-forwarded-") => FieldKind::ForwardedOther,
        _ => FieldKind::EndToEnd,
    }
}

fn names_a_certificate(name: &str) -> bool {
    begins_as(name, b"client-cert") || begins_as(name, b"x-client-cert")
}

/// Returns whether a header name begins with `prefix`, which is in lower case; `_` in the name
/// counts as `-`.
fn begins_as(name: &str, prefix: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| {
        byte.to_ascii_lowercase() == *wanted || (*byte == b'_' && *wanted == b'-')
    };
    name.len() >= prefix.len() && name.as_bytes().iter().zip(prefix).all(same)
}

/// Returns the members of a comma-separated list without white space around them; empty members are
/// left out.
pub(crate) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Returns whether a byte is allowed in a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses the value of a `Content-Length` field, which must be digits only, without sign or list;
/// returns `None` if it is not.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Returns whether a `Connection` field lists this header name, so that the header field must be
/// removed.
pub(crate) fn named_in_connection(fields: &[httparse::Header<'_>], name: &str) -> bool {
    fields
        .iter()
        .filter(|field| kind_of(field.name) == FieldKind::Connection)
        .flat_map(|field| list_members(field.value))
        .any(|member| member.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_fields_are_known_in_any_spelling() {
        for name in [
            "X-Forwarded-Port",
            "x_forwarded_for",
            "X_Forwarded-Proto",
            "Forwarded",
            "X-Real-IP",
            "x_real_ip",
        ] {
            assert_eq!(kind_of(name), FieldKind::ForwardedOther, "{name}");
        }
        assert_eq!(kind_of("X-FORWARDED-FOR"), FieldKind::ForwardedFor);
        assert_eq!(kind_of("X-Forward"), FieldKind::EndToEnd);
    }

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(
            parse_length(b"18446744073709551615"),
            Some(18_446_744_073_709_551_615)
        );
        for bad in [
            "",
            "+1",
            "-1",
            "1 ",
            "1,1",
            "0x1",
            "18446744073709551616",
            "1_0",
        ] {
            assert_eq!(parse_length(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
