//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): reads and writes the fields
//! `traceparent` and `tracestate` in the head for a backend.

use std::ops::Range;

/// A trace ID: 16 bytes in lower-case hexadecimal digits.
pub(super) type TraceId = [u8; 32];

/// The random bytes for a new trace: 16 for its ID, and 8 for the ID of the span.
pub(super) type Random = [u8; 24];

/// Length in bytes of a `traceparent` of version 0: `00-`, the trace ID, `-`, the parent ID, `-`
/// and the flags (§3.2.2).
const LENGTH: usize = 55;

/// Returns the ID of the trace that the request belongs to; `None` if it belongs to none. If the
/// head has no valid `traceparent`, and `begin` returns random bytes, a trace begins here: a new
/// `traceparent` replaces any others in the head, and `tracestate`, which belonged to those, is
/// removed (§3.2.2.5, §4.2). A valid `traceparent` stays unchanged, and so does `tracestate`.
pub(super) fn follow(
    head: &mut Vec<u8>,
    begin: impl FnOnce() -> Option<Random>,
) -> Option<TraceId> {
    let parents = lines_of(head, "traceparent");
    if let [line] = &parents[..]
        && let Some(trace) = value(&head[line.clone()]).and_then(trace_of)
    {
        return Some(trace);
    }
    let random = begin()?;
    let mut lines = parents;
    lines.extend(lines_of(head, "tracestate"));
    lines.sort_by_key(|line| line.start);
    for line in lines.into_iter().rev() {
        head.drain(line);
    }
    let parent = parent_of(random);
    // The new line `traceparent` is inserted before the empty line that ends the head.
    let end = head.len().saturating_sub(2);
    let line = [b"traceparent: ", &parent[..], b"\r\n"].concat();
    head.splice(end..end, line);
    trace_of(&parent)
}

/// Returns the byte ranges of the header lines of this name, line ends included. The request line
/// is skipped.
fn lines_of(head: &[u8], name: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        let line = &head[start..=end];
        let colon = line.get(name.len());
        if start > 0
            && colon == Some(&b':')
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            lines.push(start..end + 1);
        }
        start = end + 1;
    }
    lines
}

fn value(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    Some(line[colon + 1..].trim_ascii())
}

/// Returns the trace ID of a valid `traceparent`; `None` if it is invalid. Later versions of the
/// field may have more after the flags.
fn trace_of(parent: &[u8]) -> Option<TraceId> {
    let (known, rest) = parent.split_at_checked(LENGTH)?;
    let [version, trace, span, flags] = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
    let is_lower_hex = |part: &&[u8]| {
        let mut digits = part.iter();
        digits.all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|digit| *digit == b'0');
    let dashes = [known[2], known[35], known[52]];
    let valid = dashes == *b"---"
        && [version, trace, span, flags].iter().all(is_lower_hex)
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(span)
        && (rest.is_empty() || (version != b"00" && rest[0] == b'-'));
    valid.then(|| trace.try_into().ok()).flatten()
}

/// Formats a `traceparent` of version 0 with the flag `sampled`: without it, a backend that follows
/// the sender's decision about sampling would record nothing.
fn parent_of(mut random: Random) -> [u8; LENGTH] {
    // The trace ID and the parent ID must not be all zeros (§3.2.2.3, §3.2.2.4).
    random[15] |= 1;
    random[23] |= 1;
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-01";
    let places = (3..35).chain(36..52);
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (place, digit) in places.zip(digits) {
        parent[place] = b"0123456789abcdef"[usize::from(digit)];
    }
    parent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    const TRACE: &[u8; 32] = b"4bf92f3577b34da6a3ce929d0e0e4736";

    fn head(fields: &str) -> Vec<u8> {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    }

    fn followed(fields: &str, begin: Option<Random>) -> (String, Option<TraceId>) {
        let mut head = head(fields);
        let trace = follow(&mut head, || begin);
        (String::from_utf8(head).expect("text"), trace)
    }

    #[test]
    fn a_valid_trace_is_passed_on_as_it_is() {
        let fields = format!("TraceParent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
        for begin in [None, Some([7; 24])] {
            let (text, trace) = followed(&fields, begin);
            assert_eq!(text.as_bytes(), head(&fields));
            assert_eq!(trace.as_ref(), Some(TRACE));
        }
    }

    #[test]
    fn a_later_version_is_passed_on() {
        for version in [
            PARENT.replacen("00", "cc", 1),
            PARENT.replacen("00", "01", 1) + "-more",
        ] {
            let fields = format!("traceparent: {version}\r\n");
            let (text, trace) = followed(&fields, Some([7; 24]));
            assert_eq!(text.as_bytes(), head(&fields));
            assert_eq!(trace.as_ref(), Some(TRACE));
        }
    }

    #[test]
    fn what_is_no_trace_is_replaced_only_where_one_may_begin() {
        let twice = format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n");
        for fields in [
            "",
            "tracestate: a=1\r\n",
            &twice,
            &format!("traceparent: {}\r\n", PARENT.to_uppercase()),
            &format!("traceparent: {}\r\n", PARENT.replacen("00", "ff", 1)),
            &format!("traceparent: {PARENT}-more\r\n"),
            &format!("traceparent: {}\r\n", &PARENT[..54]),
            "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n",
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01\r\n",
            "traceparent: 00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
            "traceparent:\r\ntracestate: a=1\r\nTraceState: b=1\r\n",
        ] {
            let (text, trace) = followed(fields, None);
            assert_eq!((text.as_bytes(), trace), (&head(fields)[..], None));
            let (text, trace) = followed(fields, Some([0xab; 24]));
            let parent = format!("00-{}-{}-01", "ab".repeat(16), "ab".repeat(8));
            let new = head(&format!("traceparent: {parent}\r\n"));
            assert_eq!(text.as_bytes(), new, "{fields}");
            assert_eq!(trace, Some(*b"abababababababababababababababab"));
        }
    }

    #[test]
    fn other_fields_stay() {
        let fields = "X: 1\r\ntracestate: a=1\r\nX-traceparent: 2\r\ntraceparent-x: 3\r\n";
        let (text, _) = followed(fields, Some([1; 24]));
        for field in [
            "\r\nX: 1\r\n",
            "\r\nX-traceparent: 2\r\n",
            "\r\ntraceparent-x: 3\r\n",
        ] {
            assert!(text.contains(field), "{text}");
        }
        assert!(!text.contains("tracestate"), "{text}");
    }

    proptest! {
        #[test]
        fn whatever_random_numbers_there_are_the_trace_is_valid(random: Random) {
            let (text, trace) = followed("", Some(random));
            prop_assert!(trace.is_some());
            let (again, same) = {
                let mut head = text.clone().into_bytes();
                let same = follow(&mut head, || None);
                (head, same)
            };
            prop_assert_eq!((again, same), (text.into_bytes(), trace));
        }
    }
}
