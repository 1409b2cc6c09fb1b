//! Hashes the part of a request by which a pool balances.

use std::cell::Cell;

use super::{
    balance::mix,
    message::{find_cookie, path_of},
    routing,
};
use crate::config::HashBy;

/// Returns the hash of the part of a request that `by` names. It is the same in every worker and on
/// every host; `None` if the request lacks that part.
pub(super) fn request_hash(by: &HashBy, request: &routing::Request<'_>) -> Option<u64> {
    match by {
        HashBy::Uri => Some(hash(request.target.as_bytes())),
        HashBy::Path => Some(hash(path_of(request.target).as_bytes())),
        // The Host field is taken from `request.host`, because it is not among the forwarded header
        // lines.
        HashBy::Header(name) if name == "host" => {
            Some(hash(request.host.to_ascii_lowercase().as_bytes()))
        }
        HashBy::Header(name) => first(request, name, &|line| Some(hash(line))),
        HashBy::Cookie(name) => first(request, "cookie", &|line| {
            find_cookie(line, name, |value| Some(hash(value)))
        }),
    }
}

/// Returns the first result that `find` gives among the request's header lines of this name.
fn first(
    request: &routing::Request<'_>,
    name: &str,
    find: &dyn Fn(&[u8]) -> Option<u64>,
) -> Option<u64> {
    let found = Cell::new(None);
    request.fields.has(name, &|line| {
        found.set(find(line));
        found.get().is_some()
    });
    found.get()
}

/// Hashes these bytes to 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{super::routing::Fields, *};

    struct Lines(&'static [(&'static str, &'static str)]);

    impl Fields for Lines {
        fn has(&self, name: &str, test: &dyn Fn(&[u8]) -> bool) -> bool {
            let lines = self.0.iter().filter(|(other, _)| *other == name);
            lines.map(|(_, line)| line.as_bytes()).any(test)
        }
    }

    fn hashed(
        by: &HashBy,
        target: &str,
        lines: &'static [(&'static str, &'static str)],
    ) -> Option<u64> {
        let request = routing::Request {
            method: "GET",
            host: "A.example",
            target,
            fields: &Lines(lines),
            client: "192.0.2.1",
            https: true,
        };
        request_hash(by, &request)
    }

    #[test]
    fn requests_are_alike_where_the_part_is() {
        let uri = |target| hashed(&HashBy::Uri, target, &[]).expect("a hash");
        let path = |target| hashed(&HashBy::Path, target, &[]).expect("a hash");
        assert_ne!(uri("/a?b"), uri("/a?c"));
        assert_eq!(path("/a?b"), path("/a?c"));
        assert_ne!(path("/a"), path("/b"));
        assert_ne!(uri("/a"), uri("/a\0"));
        let header = HashBy::Header("x-user".to_owned());
        let one = hashed(&header, "/", &[("x-user", "1"), ("x-user", "2")]);
        assert_eq!(one, hashed(&header, "/x", &[("x-user", "1")]));
        assert_ne!(one, hashed(&header, "/", &[("x-user", "2")]));
        let host = hashed(&HashBy::Header("host".to_owned()), "/", &[]);
        assert_eq!(host, Some(hash(b"a.example")));
        let cookie = HashBy::Cookie("id".to_owned());
        let one = hashed(&cookie, "/", &[("cookie", "a=1; id=7"), ("cookie", "id=8")]);
        assert_eq!(
            one,
            hashed(&cookie, "/", &[("cookie", "a=2"), ("cookie", "id=7; b=2")])
        );
        assert_ne!(one, hashed(&cookie, "/", &[("cookie", "id=8")]));
    }

    #[test]
    fn a_request_without_the_part_has_no_hash() {
        let lines: &[_] = &[("cookie", "a=1"), ("x-other", "1")];
        assert_eq!(
            hashed(&HashBy::Header("x-user".to_owned()), "/", lines),
            None
        );
        assert_eq!(hashed(&HashBy::Cookie("id".to_owned()), "/", lines), None);
    }

    #[test]
    fn similar_requests_are_spread() {
        let mut counts = [0_u32; 8];
        for number in 0..8000 {
            let target = format!("/item/{number}");
            let hash = hashed(&HashBy::Uri, &target, &[]).expect("a hash");
            counts[(hash % 8) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }
}
