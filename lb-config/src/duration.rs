//! Durations in the configuration: `100ms`, `2s`, `1m30s`.

use std::time::Duration;

/// The units of durations, from the longest to the shortest, with their lengths in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration: whole numbers, each with `h`, `m`, `s` or `ms`, the longest unit first, no
/// unit twice. `None` for any other text.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut milliseconds = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_lowercase());
        // The iterator over the units continues after the last unit that was found, so a unit that
        // is repeated or out of order is refused.
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        let number: u64 = number.parse().ok()?;
        milliseconds = milliseconds.checked_add(number.checked_mul(*size)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(milliseconds))
}

/// Formats a duration, in whole milliseconds, as the configuration file writes it: `1m30s`.
#[must_use]
pub fn spell(duration: Duration) -> String {
    let mut milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in UNITS {
        let number = milliseconds / size;
        milliseconds %= size;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(byte))
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{parse, spell};

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("100ms", 100),
            ("2s", 2_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1s500ms", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(
                parse(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn other_text_is_no_duration() {
        for text in [
            "",
            "2",
            "s",
            "1.5s",
            "-1s",
            "2 s",
            "2S",
            "30s1m",
            "1s1s",
            "2sec",
            "1d",
            "٢s",
            "99999999999999999999s",
            "18446744073709551615h",
            "5s3",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_spelled_is_read_back(milliseconds in 0_u64..1_000_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&spell(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            parse(&text);
        }
    }
}
