//! Formats lines of the log: compact text, or JSON.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Compact, Format, Writer},
    },
    registry::LookupSpan,
};

use super::journald::prefix;
use crate::{config::LineFormat, events::Line};

/// The format of log lines that is in force, text or JSON, which a reload may change. Clones share
/// it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedFormat(Arc<AtomicBool>);

impl SharedFormat {
    pub(super) fn set(&self, format: LineFormat) {
        self.0.store(format == LineFormat::Json, Relaxed);
    }

    fn is_json(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Formats each line of the log in the format in force; lines for journald get a prefix with their
/// priority.
pub(super) struct Lines {
    format: SharedFormat,
    is_journald: bool,
    timed: Format<Compact>,
    /// The text format for journald: without the time, because journald adds its own time stamps.
    untimed: Format<Compact, ()>,
}

/// A line of the log in JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    /// The time at which the line was logged: RFC 3339 in UTC, with milliseconds.
    time: String,
    level: &'a str,
    message: &'a str,
    /// The module that logged the line.
    target: &'a str,
    fields: &'a Map<String, Value>,
}

impl Lines {
    pub(super) fn new(format: &SharedFormat, is_journald: bool) -> Self {
        let text = Format::default().compact().with_target(false);
        Self {
            format: format.clone(),
            is_journald,
            untimed: text.clone().without_time(),
            timed: text,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if self.format.is_json() {
            if self.is_journald {
                writer.write_str(prefix(level))?;
            }
            return writeln!(writer, "{}", json(event, SystemTime::now())?);
        }
        if !self.is_journald {
            return self.timed.format_event(context, writer, event);
        }
        let mut text = String::new();
        self.untimed
            .format_event(context, Writer::new(&mut text), event)?;
        // journald takes each line of the text for a separate message, so each line gets the prefix
        // with the priority.
        for line in text.lines() {
            writeln!(writer, "{}{line}", prefix(level))?;
        }
        Ok(())
    }
}

fn json(event: &Event<'_>, now: SystemTime) -> Result<String, fmt::Error> {
    let line = Line::of(event);
    let metadata = event.metadata();
    let level = match *metadata.level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let line = JsonLine {
        time: humantime::format_rfc3339_millis(now).to_string(),
        level,
        message: &line.message,
        target: metadata.target(),
        fields: &line.fields,
    };
    serde_json::to_string(&line).map_err(|_error| fmt::Error)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Mutex, PoisonError},
    };

    use tracing_subscriber::prelude::*;

    use super::*;

    /// The bytes that a test wrote to the log.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LineFormat, is_journald: bool) -> String {
        let shared = SharedFormat::default();
        shared.set(format);
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Lines::new(&shared, is_journald));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(backend = "we\"b1", failures = 7, error = %"one\ntwo", "a \"message\"");
            tracing::error!("lost");
        });
        let written = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(written.clone()).expect("UTF-8")
    }

    #[test]
    fn each_line_of_json_is_an_object_with_time_level_message_and_fields() {
        let text = logged(LineFormat::Json, false);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let time = lines[0]["time"].as_str().expect("a time");
        humantime::parse_rfc3339(time).expect("RFC 3339");
        assert_eq!(lines[0]["level"], "warn");
        assert_eq!(lines[0]["message"], "a \"message\"");
        let fields = serde_json::json!({"backend": "we\"b1", "failures": 7, "error": "one two"});
        assert_eq!(lines[0]["fields"], fields);
        assert_eq!(lines[1]["fields"], serde_json::json!({}));
    }

    #[test]
    fn journald_gets_the_priority_of_each_line_and_no_time() {
        let text = logged(LineFormat::Text, true);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("<4> WARN a \"message\" backend="),
            "{text}"
        );
        assert_eq!(lines[1], "<4>two", "the rest of a line has its priority");
        assert_eq!(lines[2].trim_end(), "<3>ERROR lost");
        assert!(logged(LineFormat::Json, true).lines().all(|line| {
            line.starts_with("<4>{\"time\":") || line.starts_with("<3>{\"time\":")
        }));
        assert!(!logged(LineFormat::Text, false).contains('<'));
    }
}
