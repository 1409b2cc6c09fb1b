//! Where a request comes from: from this server's own page, or from a program, or from a page of
//! another site that a browser shows.
//!
//! A browser sends a client certificate by itself, whatever site a request comes from, so the
//! certificate alone does not show that the operator wants the request (cross-site request forgery,
//! CSRF). Browsers say where a request comes from in `Origin` (RFC 6454, section 7) and
//! `Sec-Fetch-Site` (W3C Fetch Metadata), which scripts of a page cannot change. Programs such as
//! curl send neither.

use http::uri::Authority;

/// What the header of a request says about where the request comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Origin {
    /// The host and port that the client connects to, as it names them in `Host`; `None` without a
    /// valid `Host`, or with several.
    host: Option<Authority>,
    /// Whether `Origin` or `Sec-Fetch-Site` names another site than that of `host`.
    is_elsewhere: bool,
}

impl Origin {
    pub(super) fn of(headers: &[httparse::Header<'_>]) -> Self {
        let values = |name: &'static str| {
            let headers = headers.iter();
            let headers = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
            headers.map(|header| header.value.trim_ascii())
        };
        let host = match (values("host").next(), values("host").nth(1)) {
            (Some(host), None) => Authority::try_from(host).ok(),
            _ => None,
        };
        let page = format!("https://{}", host.as_ref().map_or("", Authority::as_str));
        let is_elsewhere = values("origin").any(|from| !from.eq_ignore_ascii_case(page.as_bytes()))
            || values("sec-fetch-site").any(|from| !matches!(from, b"same-origin" | b"none"));
        Self { host, is_elsewhere }
    }

    /// Returns whether the request comes from this server's own page, or from a program that is not
    /// a browser. `is_host` says whether a host, as in a URL, is this server.
    pub(super) fn is_own(&self, is_host: impl Fn(&str) -> bool) -> bool {
        let host = self.host.as_ref().map(Authority::host);
        !self.is_elsewhere && host.is_some_and(is_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(fields: &[(&str, &str)]) -> bool {
        let headers: Vec<_> = fields
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        Origin::of(&headers).is_own(|host| matches!(host, "lb.example" | "[::1]"))
    }

    #[test]
    fn requests_of_the_page_and_of_programs_are_own() {
        let host = ("Host", "lb.example:9145");
        for own in [
            &[host][..],
            &[host, ("Origin", "https://lb.example:9145")],
            &[host, ("origin", "https://LB.example:9145")],
            &[host, ("Sec-Fetch-Site", "same-origin")],
            &[host, ("Sec-Fetch-Site", "none")],
            &[
                ("host", "[::1]:9145"),
                ("Origin", "https://[::1]:9145"),
                ("Sec-Fetch-Site", "same-origin"),
            ],
        ] {
            assert!(is_own(own), "{own:?}");
        }
    }

    #[test]
    fn requests_of_other_sites_are_not_own() {
        let host = ("Host", "lb.example:9145");
        for other in [
            &[host, ("Origin", "https://evil.example")][..],
            &[host, ("Origin", "https://lb.example:9145.evil.example")],
            &[host, ("Origin", "https://lb.example")],
            &[host, ("Origin", "http://lb.example:9145")],
            &[host, ("Origin", "null")],
            &[host, ("Origin", "")],
            &[
                host,
                ("Origin", "https://lb.example:9145"),
                ("Origin", "https://evil.example"),
            ],
            &[host, ("Sec-Fetch-Site", "cross-site")],
            &[host, ("Sec-Fetch-Site", "same-site")],
            &[host, ("Sec-Fetch-Site", "")],
            &[
                host,
                ("Origin", "https://lb.example:9145"),
                ("Sec-Fetch-Site", "same-site"),
            ],
        ] {
            assert!(!is_own(other), "{other:?}");
        }
    }

    #[test]
    fn a_request_must_name_this_host_once() {
        for other in [
            &[][..],
            &[("Host", "")],
            &[("Host", "evil.example")],
            &[("Host", "lb.example"), ("Host", "evil.example")],
            &[("Host", "lb.example"), ("Host", "lb.example")],
            &[("Host", "lb.example/")],
            &[
                ("Host", "evil.example"),
                ("Origin", "https://evil.example"),
                ("Sec-Fetch-Site", "same-origin"),
            ],
        ] {
            assert!(!is_own(other), "{other:?}");
        }
    }
}
