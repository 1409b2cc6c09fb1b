//! The form in which routes compare paths of requests.
//!
//! Servers interpret a path in different ways: most decode `%61`, many treat `//` as `/` and `%2f`
//! or `\` as a separator, Java servers ignore `;…`. A route that protects `/admin` must match every
//! spelling that a server behind it may interpret as `/admin`. Paths are therefore compared in a
//! form that is the same for all these spellings, and paths without a safe form are refused. The
//! forwarded path stays as the client sent it.

use std::borrow::Cow;

/// Why a path cannot be compared with routes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ambiguity {
    /// The path has a segment `.` or `..`, encoded or not: servers differ on whether they resolve
    /// it.
    DotSegment,
    /// The path has `%00`, at which some servers truncate it.
    Nul,
    /// The path has a `%` without two hexadecimal digits after it (RFC 3986 §2.1).
    Encoding,
}

impl Ambiguity {
    /// Describes the ambiguity, as the end of a sentence about the path.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::DotSegment => "has a segment \".\" or \"..\", encoded or not",
            Self::Nul => "contains %00",
            Self::Encoding => "has a % without two hexadecimal digits after it",
        }
    }
}

/// Returns the form in which a path is compared: decoded once (RFC 3986 §2.1), with `\` and `%2f`
/// as separators, without empty segments and without parameters of segments (`;…`). A slash at the
/// end is kept. Allocates only if the form differs from the path.
///
/// # Errors
/// Servers interpret the path in ways that no form covers.
pub fn comparable(path: &[u8]) -> Result<Cow<'_, [u8]>, Ambiguity> {
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut out = Vec::with_capacity(decoded.len());
    let mut open = false;
    for segment in decoded.split(|byte| is_separator(*byte)) {
        let end = memchr::memchr(b';', segment).unwrap_or(segment.len());
        let name = &segment[..end];
        if matches!(name, b"." | b"..") {
            return Err(Ambiguity::DotSegment);
        }
        open = name.is_empty();
        if !open {
            out.push(b'/');
            out.extend_from_slice(name);
        }
    }
    if open || out.is_empty() {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

/// Whether a path is already in the comparable form, so it need not be copied.
fn is_plain(path: &[u8]) -> bool {
    let pairs = path.windows(2).all(|pair| !matches!(pair, b"//" | b"/."));
    pairs
        && path
            .iter()
            .all(|byte| !matches!(byte, b'%' | b';' | b'\\' | 0))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

fn decode(path: &[u8]) -> Result<Vec<u8>, Ambiguity> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while !rest.is_empty() {
        let (byte, after) = next_byte(rest).ok_or(Ambiguity::Encoding)?;
        if byte == 0 {
            return Err(Ambiguity::Nul);
        }
        out.push(byte);
        rest = after;
    }
    Ok(out)
}

/// Returns the first byte of a path, decoded, and the rest of the path; `None` if the path is empty
/// or its encoding is not valid.
fn next_byte(path: &[u8]) -> Option<(u8, &[u8])> {
    match path {
        [b'%', high, low, rest @ ..] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let value = digit(high)? * 16 + digit(low)?;
            Some((u8::try_from(value).ok()?, rest))
        }
        [b'%', ..] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

/// Returns the number of segments of a path in the comparable form.
pub fn segments(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
        .count()
}

/// Replaces the first `replaced` segments of a path, given as sent and without its query, by
/// `prefix`. The rest of the path stays as sent.
pub fn with_prefix(path: &str, replaced: usize, prefix: &str) -> String {
    let rest = after(path.as_bytes(), replaced);
    let mut out = prefix.trim_end_matches('/').to_owned();
    if let Some(rest) = rest {
        out.push('/');
        // The path was cut at ASCII bytes only, so the rest of it is valid UTF-8.
        out.push_str(std::str::from_utf8(rest).unwrap_or_default());
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Returns the part of a path after the separator that follows its first `count` segments; `None`
/// if there is no such separator.
fn after(mut path: &[u8], count: usize) -> Option<&[u8]> {
    let mut seen = 0;
    loop {
        let (segment, rest) = split_segment(path);
        let is_empty = matches!(next_byte(segment), None | Some((b';', _)));
        if seen == count && !is_empty {
            return Some(path);
        }
        seen += usize::from(!is_empty);
        match rest {
            Some(rest) => path = rest,
            // The path ends with the separator: the part after it is empty.
            None if is_empty && seen == count => return Some(&[]),
            None => return None,
        }
    }
}

/// Splits a path at its first separator, encoded or not. The second part is `None` if the path has
/// no separator.
fn split_segment(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut rest = path;
    while let Some((byte, behind)) = next_byte(rest) {
        if is_separator(byte) {
            return (&path[..path.len() - rest.len()], Some(behind));
        }
        rest = behind;
    }
    (path, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Result<String, Ambiguity> {
        comparable(path.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned())
    }

    #[test]
    fn every_spelling_of_a_path_is_compared_as_the_same() {
        for spelling in [
            "/admin/x",
            "//admin/x",
            "/admin//x",
            "/%61dmin/x",
            "/%61%64%6D%69%6e/x",
            "/admin%2fx",
            "/admin%2Fx",
            "/admin\\x",
            "/admin%5cx",
            "/admin;a=b/x",
            "/admin;/x;c",
            "/admin%3bq/x",
            "/;a/admin/x",
            "%2fadmin/x",
        ] {
            assert_eq!(read(spelling).as_deref(), Ok("/admin/x"), "{spelling}");
        }
    }

    #[test]
    fn a_slash_at_the_end_stays_and_what_is_encoded_twice_is_decoded_once() {
        for (path, wanted) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/a/;x", "/a/"),
            ("/%2561", "/%61"),
            ("/a%3fb", "/a?b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a.b/..c", "/a.b/..c"),
            ("/A", "/A"),
        ] {
            assert_eq!(read(path).as_deref(), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn what_servers_read_in_several_ways_is_refused() {
        for path in [
            "/a/../b",
            "/..",
            "/./a",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/..;/b",
            "/a/..%3bx/b",
            "/a%2f..%2fb",
            "/a\\..\\b",
            "/a%5c..",
        ] {
            assert_eq!(read(path), Err(Ambiguity::DotSegment), "{path}");
        }
        assert_eq!(read("/admin%00.png"), Err(Ambiguity::Nul));
        for path in ["/%", "/%4", "/%zz", "/%u0061", "/a%"] {
            assert_eq!(read(path), Err(Ambiguity::Encoding), "{path}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments_and_the_rest_stays_as_sent() {
        for (path, replaced, prefix, wanted) in [
            ("/api/x", 1, "/", "/x"),
            ("/api", 1, "/", "/"),
            ("/api/", 1, "/", "/"),
            ("/api", 1, "/v1", "/v1"),
            ("/api/", 1, "/v1", "/v1/"),
            ("/api/x", 1, "/v1/", "/v1/x"),
            ("/a/b/c%2Fd;e", 2, "/v1", "/v1/c%2Fd;e"),
            ("//a//b//c//", 2, "/", "/c//"),
            ("/%61pi%2fx", 1, "/", "/x"),
            ("/api;v=1/x", 1, "/", "/x"),
            ("/api//evil", 1, "/", "/evil"),
            ("/x", 0, "/app", "/app/x"),
            ("/", 0, "/app", "/app/"),
        ] {
            assert_eq!(with_prefix(path, replaced, prefix), wanted, "{path}");
        }
    }

    proptest! {
        /// A path that is in the comparable form is its own comparable form, and rewriting a path
        /// agrees with rewriting its comparable form.
        #[test]
        fn the_form_is_a_fixed_point_and_rewriting_agrees_with_it(
            path in "(/|%2f|%5c|\\\\|[ab;.]|%61|%2e|%3b){0,12}",
            replaced in 0_usize..3,
        ) {
            let path = format!("/{path}");
            let Ok(once) = comparable(path.as_bytes()) else {
                return Ok(());
            };
            let twice = comparable(&once).map(Cow::into_owned);
            prop_assert_eq!(twice, Ok(once.to_vec()));
            if segments(&once) < replaced {
                return Ok(());
            }
            let rewritten = with_prefix(&path, replaced, "/p");
            prop_assert!(rewritten.starts_with("/p") && !rewritten.starts_with("/p//"));
            let kept: Vec<_> = once.split(|byte| *byte == b'/').collect();
            let kept = kept[1..].iter().filter(|one| !one.is_empty()).skip(replaced);
            let mut wanted = b"/p".to_vec();
            for segment in kept {
                wanted.push(b'/');
                wanted.extend_from_slice(segment);
            }
            let compared = comparable(rewritten.as_bytes()).expect("no less certain than before");
            prop_assert_eq!(compared.strip_suffix(b"/").unwrap_or(&compared), &*wanted);
        }
    }
}
