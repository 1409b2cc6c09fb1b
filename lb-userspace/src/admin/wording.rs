//! Formats values for people. The tables of `lb status` and the status page share these functions.

use std::time::Duration;

mod discovery;
mod pair;
mod status;

pub use pair::{Fact, HostRow, PairInWords, Tone};

/// Formats a duration with its two largest units: `3d 2h`, `4m 10s`, `12s`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// Formats the attachments of the XDP program, given as pairs of mode and interface name, and
/// groups them by mode: `native XDP on eth0 and eth1`.
#[must_use]
pub fn xdp_in_words<'a>(interfaces: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut by_mode: Vec<(&str, Vec<&str>)> = Vec::new();
    for (mode, name) in interfaces {
        match by_mode.iter_mut().find(|(known, _)| *known == mode) {
            Some((_, names)) => names.push(name),
            None => by_mode.push((mode, vec![name])),
        }
    }
    let modes = by_mode
        .iter()
        .map(|(mode, names)| format!("{mode} XDP on {}", names.join(" and ")));
    modes.collect::<Vec<_>>().join(", ")
}

/// Formats a duration, given in seconds, in milliseconds: `0.42 ms`, `12 ms`.
#[must_use]
pub fn milliseconds(seconds: f64) -> String {
    let ms = seconds * 1000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// Formats the time since an event, given in seconds: `40 ms ago`, `12s ago`. A negative or invalid
/// number of seconds gives `just now`.
#[must_use]
pub fn ago(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(within) if within < Duration::from_secs(1) => format!("{} ago", milliseconds(seconds)),
        Ok(longer) => format!("{} ago", span(longer)),
        Err(_no_span) => "just now".to_owned(),
    }
}

/// Formats a number of bytes with a binary unit: `512 B`, `3.0 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Formats a number with thousands separators: `1,234,567`.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with its noun, which gets the ending `s` unless the number is 1: `1 backend`,
/// `1,234 connections`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// Formats what percentage `part` is of `whole`; a dash if `whole` is 0.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        let seconds = [0, 59, 61, 3_661, 86_399, 86_400 * 3 + 7_300];
        let shown = seconds.map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "59s", "1m 1s", "1h 1m", "23h 59m", "3d 2h"]);
    }

    #[test]
    fn a_moment_ago_is_told_in_milliseconds() {
        let shown = [0.04, 0.000_5, 1.0, 75.2, -0.1, f64::NAN].map(ago);
        let wanted = [
            "40 ms ago",
            "0.50 ms ago",
            "1s ago",
            "1m 15s ago",
            "just now",
            "just now",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_noun_is_singular_after_1_alone() {
        let counted = [0, 1, 2, 1_234].map(|number| counted(number, "flow"));
        assert_eq!(counted, ["0 flows", "1 flow", "2 flows", "1,234 flows"]);
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        let shown = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn bytes_have_one_unit() {
        let shown = [0, 1023, 1024, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 GiB", "16.0 EiB"]);
    }

    #[test]
    fn a_share_of_nothing_is_a_dash() {
        assert_eq!(share(0, 0), "–");
        assert_eq!(share(1, 8), "12.5%");
    }
}
