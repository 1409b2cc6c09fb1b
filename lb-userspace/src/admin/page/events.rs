//! The section of the status page on the latest events.

use std::{
    fmt::{self, Write},
    time::SystemTime,
};

use super::{Escaped, Table, View};
use crate::{
    admin::{Moment, wording::span},
    events::{Event, Severity},
};

/// Writes the section of the status page on the latest events, the newest first.
pub(super) fn write(page: &mut String, view: View<'_>) -> fmt::Result {
    page.write_str("<section aria-labelledby=\"events\"><h2 id=\"events\">Events</h2>")?;
    if view.events.is_empty() {
        page.write_str("<p class=\"soft\">No event is recorded.</p>")?;
    } else {
        let columns = ["When", "Event", "Subject", "What happened"];
        let mut table = Table::begin(page, "Latest events", &columns)?;
        for event in view.events.iter().rev() {
            write_event(&mut table, event, view.status.now)?;
        }
        table.end()?;
    }
    page.write_str("</section>")
}

fn write_event(table: &mut Table<'_>, event: &Event, now: Moment) -> fmt::Result {
    table.row()?;
    table.cell("", ago(event.last, now))?;
    table.cell(
        class_of(event.severity),
        event.kind.word().replace('_', " "),
    )?;
    table.cell("", Escaped(&event.subject))?;
    table.cell_with("wraps", |page| {
        write!(page, "{}", Escaped(&event.cause))?;
        if event.count > 1 {
            let since = ago(event.time, now);
            write!(
                page,
                " <span class=\"soft\">({} times since {since})</span>",
                event.count
            )?;
        }
        Ok(())
    })
}

/// Formats the time since an event, with the exact time for machines and on hover.
fn ago(time: SystemTime, now: Moment) -> String {
    let exact = humantime::format_rfc3339_seconds(time);
    let ago = span(now.since(Moment(time)));
    format!("<time datetime=\"{exact}\" title=\"{exact}\">{ago} ago</time>")
}

/// Returns the CSS class of a severity. Reuses the classes of backend states for their colours.
fn class_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warn => "draining",
        Severity::Error => "down",
    }
}
