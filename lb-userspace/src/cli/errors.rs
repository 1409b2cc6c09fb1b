//! Output of `lb errors`: the most recent requests, handshakes and connections that ended early,
//! and why.

use std::{fmt::Write as _, time::Duration};

use super::table::Style;
use crate::admin::{EndedEarlyStatus, wording::counted};

/// Formats the requests, handshakes and connections that ended early as text, in the order given,
/// in which the newest is last.
pub(super) fn render(entries: &[EndedEarlyStatus], colour: bool) -> String {
    if entries.is_empty() {
        return "nothing ended early since the agent started\n".to_owned();
    }
    let entries: Vec<_> = entries.iter().map(|entry| one(entry, colour)).collect();
    entries.join("\n")
}

fn one(entry: &EndedEarlyStatus, colour: bool) -> String {
    let time = humantime::format_rfc3339_millis(entry.time.0);
    let reason = Style::Bold.paint(&entry.reason, colour);
    let status = entry
        .status
        .map_or_else(|| "no response".to_owned(), |status| status.to_string());
    let mut text = format!("{time}  {reason}  {status}\n  {}\n", entry.meaning);
    let mut facts = format!("service {}, client {}", entry.service, entry.client);
    if let Some(backend) = &entry.backend {
        let attempts = counted(entry.attempts.into(), "attempt");
        // Writing to a string in memory does not fail.
        _ = write!(facts, ", backend {backend} ({attempts})");
    }
    if let Some(micros) = entry.after_us {
        let after = Duration::from_micros(micros);
        _ = write!(facts, ", after {after:?}");
    }
    _ = writeln!(text, "  {facts}");
    for (what, bytes) in [("request", &entry.request), ("sent", &entry.offending)] {
        if !bytes.is_empty() {
            let bytes = Style::Faint.paint(bytes, colour);
            _ = writeln!(text, "  {what}: {bytes}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::examples_of_ended_early;

    #[test]
    fn an_entry_says_what_why_and_with_which_bytes() {
        let text = render(&[examples_of_ended_early()], false);
        assert_eq!(
            text,
            "2027-01-15T08:00:00.000Z  backend_response_head_malformed  502\n  \
             The backend sent a malformed response head.\n  \
             service https, client 198.51.100.10:4711, backend web2 (2 attempts), after 12.3ms\n  \
             request: GET /a HTTP/1.1\\r\\nHost: example.org\n  \
             sent: SSH-2.0-x\\r\\n\n"
        );
    }

    #[test]
    fn an_empty_list_is_reported_as_empty() {
        assert!(render(&[], false).starts_with("nothing ended early"));
    }
}
