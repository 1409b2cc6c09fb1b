//! Reads the cookies of a request (RFC 6265 §4.2.1), and removes some of them.

/// Returns the first result that `test` gives for a value of the cookies with this name in a
/// `Cookie` line.
pub(crate) fn find_cookie<'v, T>(
    line: &'v [u8],
    name: &str,
    mut test: impl FnMut(&'v [u8]) -> Option<T>,
) -> Option<T> {
    let mut pairs = line.split(|byte| *byte == b';');
    pairs.find_map(|pair| value_of(pair, name).and_then(&mut test))
}

/// Appends `separator` and the value of a `Cookie` line without the cookies of this name. Appends
/// nothing if no other cookie is left; a line without such a cookie is appended unchanged.
pub(crate) fn push_without(line: &[u8], name: &str, mut separator: &[u8], out: &mut Vec<u8>) {
    let pairs = || line.split(|byte| *byte == b';');
    if pairs().all(|pair| value_of(pair, name).is_none()) {
        out.extend_from_slice(separator);
        out.extend_from_slice(line);
        return;
    }
    for pair in pairs() {
        let pair = pair.trim_ascii();
        if !pair.is_empty() && value_of(pair, name).is_none() {
            out.extend_from_slice(separator);
            out.extend_from_slice(pair);
            separator = b"; ";
        }
    }
}

/// Returns the value of a cookie pair (`name=value`) without quotes around it; `None` if the pair
/// has another name.
fn value_of<'v>(pair: &'v [u8], name: &str) -> Option<&'v [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    if pair[..at].trim_ascii() != name.as_bytes() {
        return None;
    }
    let value = pair[at + 1..].trim_ascii();
    let quoted = value.strip_prefix(b"\"");
    Some(
        quoted
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(line: &str) -> String {
        let mut out = Vec::new();
        push_without(line.as_bytes(), "lb", b"", &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_cookies_of_the_name_go() {
        for (line, left) in [
            ("lb=x", ""),
            ("lb=x; lb=y", ""),
            ("a=1; lb=x; b=2", "a=1; b=2"),
            ("lb=x;a=1", "a=1"),
            ("a=1;  lb = x ;b=2;", "a=1; b=2"),
            ("LB=x; lbx=1; xlb=2; lb", "LB=x; lbx=1; xlb=2; lb"),
            ("a=1;b=2", "a=1;b=2"),
            ("a=\"lb=x\"", "a=\"lb=x\""),
            ("", ""),
        ] {
            assert_eq!(without(line), left, "{line}");
        }
    }

    #[test]
    fn the_first_cookie_that_passes_is_found() {
        let find = |line: &'static str| {
            find_cookie(line.as_bytes(), "lb", |value| {
                (value.first() == Some(&b'g')).then_some(value)
            })
        };
        assert_eq!(
            find("a=g; lb=bad; lb=\"good\"; lb=great"),
            Some(&b"good"[..])
        );
        assert_eq!(find("lb=bad"), None);
        assert_eq!(find("lb"), None);
    }
}
