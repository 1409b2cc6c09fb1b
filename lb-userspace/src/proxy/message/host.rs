//! Parses hosts: the value of a `Host` field, and the authority of a request target.

/// Returns whether a value is a host with an optional port (RFC 9110 §7.2). The host is a name, an
/// IPv4 address, or an IPv6 address in brackets. User information (`user@`) is rejected.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = split_port(value);
    let port_is_good =
        port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    let host_is_good = match host {
        [b'[', inner @ .., b']'] => {
            !inner.is_empty()
                && inner
                    .iter()
                    .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        name => !name.is_empty() && name.len() <= 255 && name.iter().all(is_name_byte),
    };
    host_is_good && port_is_good
}

/// Returns whether two hosts are equal, ignoring case and the default port of the scheme (443 if
/// `https`, else 80).
pub(crate) fn same_host(one: &[u8], other: &[u8], https: bool) -> bool {
    let default: &[u8] = if https { b"443" } else { b"80" };
    let parts = |value| {
        let (host, port) = split_port(value);
        (
            host,
            port.filter(|port| !port.is_empty()).unwrap_or(default),
        )
    };
    let ((host, port), (other_host, other_port)) = (parts(one), parts(other));
    host.eq_ignore_ascii_case(other_host) && port == other_port
}

/// Returns a host without its port and without a trailing dot.
pub(crate) fn host_name(host: &str) -> &str {
    let (name, _) = split_port(host.as_bytes());
    // The port is cut off at an ASCII character, so slicing the string here cannot panic.
    let name = &host[..name.len()];
    name.strip_suffix('.')
        .filter(|name| !name.is_empty())
        .unwrap_or(name)
}

fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_bracket = memchr::memrchr(b']', value).map_or(0, |at| at + 1);
    match memchr::memchr(b':', &value[after_bracket..]) {
        Some(at) => {
            let colon = after_bracket + at;
            (&value[..colon], Some(&value[colon + 1..]))
        }
        None => (value, None),
    }
}

fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_port_are_hosts() {
        for host in [
            "a",
            "a.example:8443",
            "10.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "a:",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn everything_else_is_no_host() {
        for value in [
            "", ":80", "a b", "user@a", "a/b", "a,b", "a:b", "a:80:80", "[::1", "::1", "[]",
            "a:123456", "ä", "a?b", "a#b", "[::1]x",
        ] {
            assert!(!is_host(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn a_host_s_name_has_no_port_and_no_dot_at_its_end() {
        for (host, name) in [
            ("a.example:8443", "a.example"),
            ("a.example.", "a.example"),
            ("a.example.:", "a.example"),
            ("[::1]:80", "[::1]"),
            (".", "."),
            ("a..", "a."),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
    }

    #[test]
    fn hosts_are_compared_without_case_and_with_the_scheme_s_port() {
        assert!(same_host(b"A.example", b"a.example:443", true));
        assert!(same_host(b"a.example:", b"a.example:80", false));
        assert!(!same_host(b"a.example", b"b.example", true));
        assert!(!same_host(b"a.example", b"a.example:80", true));
    }
}
