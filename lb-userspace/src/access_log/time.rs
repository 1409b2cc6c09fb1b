//! Formats times for the lines of the access log.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Appends a UTC time in RFC 3339 format with milliseconds: `2026-03-01T08:49:37.250Z`.
pub(super) fn push_rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Civil {
        year,
        month,
        day,
        second,
    } = Civil::of(since.as_secs());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    // Writing to a buffer in memory does not fail.
    let _written = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    );
}

/// Appends a UTC time as Apache's combined format has it: `01/Mar/2026:08:49:37 +0000`.
pub(super) fn push_combined(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Civil {
        year,
        month,
        day,
        second,
    } = Civil::of(since.as_secs());
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _written = write!(
        out,
        "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"
    );
}

/// Appends the header that a local syslog daemon expects before a message:
/// `<134>Mar  1 08:49:37 lb[12]: `.
pub(super) fn push_syslog_head(out: &mut Vec<u8>, priority: u8, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Civil {
        month, day, second, ..
    } = Civil::of(since.as_secs());
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let process = std::process::id();
    let _written = write!(
        out,
        "<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} lb[{process}]: "
    );
}

struct Civil {
    year: u64,
    /// The month, from 1 (January) to 12.
    month: u64,
    day: u64,
    /// Seconds since midnight (UTC).
    second: u64,
}

impl Civil {
    /// Converts seconds since 1970 to a calendar date and time (Howard Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms", `civil_from_days`).
    fn of(seconds: u64) -> Self {
        let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            second,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_documented() {
        for (millis, rfc3339, combined) in [
            (0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            (
                951_782_400_007,
                "2000-02-29T00:00:00.007Z",
                "29/Feb/2000:00:00:00 +0000",
            ),
            (
                4_107_542_399_999,
                "2100-02-28T23:59:59.999Z",
                "28/Feb/2100:23:59:59 +0000",
            ),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            let mut out = Vec::new();
            push_rfc3339(&mut out, time);
            assert_eq!(String::from_utf8_lossy(&out), rfc3339);
            assert_eq!(
                humantime::format_rfc3339_millis(time).to_string(),
                rfc3339,
                "another implementation agrees"
            );
            out.clear();
            push_combined(&mut out, time);
            assert_eq!(String::from_utf8_lossy(&out), combined);
        }
    }
}
