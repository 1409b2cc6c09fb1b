//! The agent's log: one compact line per event, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, Layer as _, filter::ParseError, fmt, prelude::*};

use crate::events::{self, Journal};

/// Starts the log. `levels` is a level such as `info`, or levels by module such as `lb=debug`. Lines that are
/// events are recorded in `journal`, at every level.
///
/// # Errors
/// `levels` is invalid, or a log has already been started.
pub(super) fn start(levels: &str, journal: &Journal) -> Result<(), String> {
    let filter = EnvFilter::try_new(levels).map_err(|error: ParseError| {
        format!("invalid log level {levels:?} ({error}): use error, warn, info, debug or trace")
    })?;
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(super::output::has_colour(&io::stderr()))
        .with_target(false)
        .compact();
    // If standard error goes to the systemd journal, log lines have no time: the journal adds its
    // own.
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let lines = if is_journal {
        lines.without_time().with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    let started = tracing_subscriber::registry()
        .with(lines)
        .with(events::Layer::of(journal))
        .try_init();
    started.map_err(|error| format!("cannot start the log: {error}"))
}
