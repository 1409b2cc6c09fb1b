//! Matches a request, as the front would forward it, against the conditions of routes.

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    config::{HeaderRule, HeaderTest, HostRule, PathRule, Route},
    proxy::message::host_name,
};

/// The parts of a request by which routes match.
pub(super) struct MatchInput<'a> {
    /// The method of the request.
    pub(super) method: &'a str,
    /// The host that the request names, without its port.
    pub(super) host: &'a str,
    /// The path in normalised form; `None` if the request has none, or no route of the service
    /// matches on paths.
    pub(super) path: Option<&'a [u8]>,
    /// The header of the request.
    pub(super) fields: &'a dyn Fields,
}

/// The header of a request, whether it came over HTTP/1 or HTTP/2.
pub(crate) trait Fields {
    /// Returns whether a header line of this name has a value that passes `test`. Lines that the
    /// front does not forward are left out.
    fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool;
}

/// The first condition of a route that the request does not meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mismatch {
    /// The host of the request is none of the route's.
    Host,
    /// The path of the request does not match.
    Path,
    /// The method of the request is none of the route's.
    Method,
    /// The route's header condition with this index is not met.
    Header(usize),
}

/// Returns the first condition of a route that a request does not meet; `None` if the route
/// matches.
pub(super) fn mismatch(route: &Route, input: &MatchInput<'_>) -> Option<Mismatch> {
    let hosts = &route.hosts;
    if !hosts.is_empty() && !hosts.iter().any(|rule| is_host(rule, input.host)) {
        return Some(Mismatch::Host);
    }
    if let Some(rule) = &route.path
        && !input.path.is_some_and(|path| is_path(rule, path))
    {
        return Some(Mismatch::Path);
    }
    let methods = &route.methods;
    if !methods.is_empty() && !methods.iter().any(|method| method == input.method) {
        return Some(Mismatch::Method);
    }
    let mut headers = route.headers.iter();
    let header = headers.position(|rule| !has_header(rule, input.fields));
    header.map(Mismatch::Header)
}

/// Returns whether a route's rule for hosts matches a host name without port.
pub(super) fn is_host(rule: &HostRule, name: &str) -> bool {
    match rule {
        HostRule::Name(wanted) => name.eq_ignore_ascii_case(wanted),
        HostRule::Below(parent) => {
            let at = name.len().checked_sub(parent.len() + 1);
            let ends = at.and_then(|at| name.split_at_checked(at));
            ends.is_some_and(|(below, end)| {
                !below.is_empty() && end.starts_with('.') && end[1..].eq_ignore_ascii_case(parent)
            })
        }
        HostRule::Address(wanted) => address(name) == Some(*wanted),
    }
}

fn address(name: &str) -> Option<IpAddr> {
    match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse().ok(),
    }
}

fn is_path(rule: &PathRule, path: &[u8]) -> bool {
    match rule {
        PathRule::Exact(wanted) => path == wanted,
        PathRule::Prefix(prefix) => match path.strip_prefix(&**prefix) {
            Some(rest) => matches!(rest, [] | [b'/', ..]),
            None => false,
        },
        PathRule::Regex(pattern) => pattern.is_match(path),
    }
}

fn has_header(rule: &HeaderRule, fields: &dyn Fields) -> bool {
    match &rule.test {
        HeaderTest::Present => fields.has(&rule.name, &|_| true),
        HeaderTest::Is(wanted) => fields.has(&rule.name, &|value| value == wanted.as_bytes()),
        HeaderTest::Regex(pattern) => fields.has(&rule.name, &|value| pattern.is_match(value)),
    }
}

/// Returns the host of a request without its port, for matching; `None` if the host contains `%`,
/// because servers may decode it to another host.
pub(super) fn comparable_host(host: &str) -> Option<&str> {
    (!host.contains('%')).then(|| host_name(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pattern;

    #[test]
    fn hosts_are_compared_by_whole_labels_and_without_case() {
        let below = HostRule::Below("example.com".to_owned());
        for name in ["a.example.com", "A.B.EXAMPLE.com"] {
            assert!(is_host(&below, name), "{name}");
        }
        for name in [
            "example.com",
            "aexample.com",
            ".example.com",
            "com",
            "",
            "éexample.com",
        ] {
            assert!(!is_host(&below, name), "{name}");
        }
        let exact = HostRule::Name("example.com".to_owned());
        assert!(is_host(&exact, "Example.COM"));
        assert!(!is_host(&exact, "a.example.com"));
        let address = HostRule::Address("::1".parse().expect("an address"));
        assert!(is_host(&address, "[0:0:0:0:0:0:0:1]"));
        assert!(!is_host(&address, "[::2]"));
    }

    #[test]
    fn a_prefix_is_of_whole_segments() {
        let prefix = PathRule::Prefix(b"/api".to_vec());
        for path in ["/api", "/api/", "/api/x"] {
            assert!(is_path(&prefix, path.as_bytes()), "{path}");
        }
        for path in ["/apix", "/", "/x/api", "/API"] {
            assert!(!is_path(&prefix, path.as_bytes()), "{path}");
        }
        assert!(is_path(&PathRule::Prefix(Vec::new()), b"/any"));
    }

    #[test]
    fn no_byte_is_a_way_past_a_dot_of_an_expression() {
        let rule = PathRule::Regex(Pattern::new("^/admin/.*$").expect("good"));
        for path in [
            &b"/admin/x"[..],
            b"/admin/\n",
            b"/admin/\xff\n\xc0",
            b"/admin/",
        ] {
            assert!(is_path(&rule, path), "{}", path.escape_ascii());
        }
        assert!(!is_path(&rule, b"/admin"));
    }
}
