//! `lb events`: what happened on this host, and why.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    thread,
    time::{Duration, SystemTime},
};

use clap::Args;

use super::{
    output::{Failure, failed, has_colour, print, print_unless_closed},
    table::Style,
};
use crate::{
    admin::{Client, ClientError},
    events::{Answer, Event, Filter, Kind, Severity},
};

/// Interval at which `--follow` asks for new events.
const POLL: Duration = Duration::from_millis(500);
/// How many events are shown by default.
const USUAL: usize = 50;

/// The arguments of `lb events`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Show the latest N events.
    #[arg(short = 'n', value_name = "N", default_value_t = USUAL)]
    number: usize,
    /// Wait for further events, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Only events of the last so long, such as `90s`, `1h` or `2days`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only events of this kind, such as `backend_down`; can be repeated. docs/events.md lists the
    /// kinds.
    #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
    kinds: Vec<Kind>,
    /// Print JSON: a list, with --follow an object on each line.
    #[arg(long)]
    json: bool,
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::of(word).ok_or_else(|| {
        let words: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        format!(
            "there is no such kind of event; the kinds are {}",
            words.join(", ")
        )
    })
}

impl Arguments {
    fn filter(&self) -> Filter {
        let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Filter {
            after: None,
            within_ms: self.since.map(millis),
            kinds: self.kinds.clone(),
            most: Some(self.number),
        }
    }
}

/// Prints the events, and with `--follow` those that are still to come.
pub(super) fn show(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let mut filter = arguments.filter();
    let mut answer = client.events(&filter).map_err(failed)?;
    let colour = has_colour(&std::io::stdout());
    if !arguments.follow {
        if arguments.json {
            let text = serde_json::to_string_pretty(&answer.events).map_err(failed)?;
            return print(&(text + "\n"));
        }
        return print(&render(&answer, colour));
    }
    let mut shown = BTreeMap::new();
    loop {
        if !print_new(&answer.events, &mut shown, (arguments.json, colour))? {
            return Ok(());
        }
        filter = Filter {
            after: Some(answer.revision.max(filter.after.unwrap_or_default())),
            most: None,
            within_ms: None,
            ..filter
        };
        thread::sleep(POLL);
        match client.events(&filter) {
            Ok(next) => answer = next,
            // No agent runs at the moment, for example because it restarts. Nothing is lost: the
            // next agent reads the events from the journal's file.
            Err(ClientError::NotRunning(_)) => answer.events.clear(),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Prints the events that were not printed yet, and those that were repeated since they were
/// printed. Returns false if standard output was closed.
fn print_new(
    events: &[Event],
    shown: &mut BTreeMap<u64, u64>,
    (json, colour): (bool, bool),
) -> Result<bool, Failure> {
    for event in events {
        let before = shown.insert(event.id, event.revision);
        if before.is_some_and(|before| before >= event.revision) {
            continue;
        }
        let text = if json {
            serde_json::to_string(event).map_err(failed)? + "\n"
        } else {
            one(event, colour)
        };
        if !print_unless_closed(&text)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn render(answer: &Answer, colour: bool) -> String {
    let mut text: String = answer
        .events
        .iter()
        .map(|event| one(event, colour))
        .collect();
    if answer.events.is_empty() {
        text.push_str("no such event is recorded\n");
    }
    if let Some(problem) = &answer.not_saved {
        let remark = format!(
            "these events are lost when the agent ends, because they cannot be saved: {problem}"
        );
        _ = writeln!(text, "{}", Style::Yellow.paint(&remark, colour));
    }
    text
}

/// Formats an event as one line.
fn one(event: &Event, colour: bool) -> String {
    let style = match event.severity {
        Severity::Error => Style::Red,
        Severity::Warn => Style::Yellow,
        Severity::Info => Style::Plain,
    };
    let kind = style.paint(event.kind.word(), colour);
    let subject = Style::Bold.paint(&event.subject, colour);
    let mut text = format!("{}  {kind}  {subject}  {}", time(event.last), event.cause);
    if event.count > 1 {
        let repeated = format!(" ({} times since {})", event.count, time(event.time));
        text.push_str(&Style::Faint.paint(&repeated, colour));
    }
    text.push('\n');
    text
}

/// Formats a time as date and time of day in UTC, to the second: `2026-03-01 08:49:37 UTC`.
fn time(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Event {
            id: 7,
            revision: 9,
            time,
            last: time + Duration::from_secs(61),
            count: 1,
            kind: Kind::BackendDown,
            severity: Severity::Warn,
            subject: "web/web1".to_owned(),
            cause: "The backend went from up to down: connection refused".to_owned(),
            message: "backend state changed".to_owned(),
            fields: serde_json::Map::new(),
        }
    }

    #[test]
    fn an_event_is_a_line_with_time_kind_subject_and_cause() {
        let answer = Answer {
            events: vec![
                event(),
                Event {
                    count: 3,
                    ..event()
                },
            ],
            revision: 9,
            not_saved: Some("No space left on device".to_owned()),
        };
        let line = "2027-01-15 08:01:01 UTC  backend_down  web/web1  \
                    The backend went from up to down: connection refused";
        let text = render(&answer, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], line);
        assert_eq!(
            lines[1],
            format!("{line} (3 times since 2027-01-15 08:00:00 UTC)")
        );
        assert!(
            lines[2].ends_with("cannot be saved: No space left on device"),
            "{text}"
        );
        assert!(render(&Answer::default(), false).starts_with("no such event"));
    }

    #[test]
    fn an_unknown_kind_is_answered_with_those_that_exist() {
        let error = kind("backend_dwn").expect_err("refused");
        assert!(
            error.contains("backend_down, ") && error.contains("limit_reached"),
            "{error}"
        );
    }
}
