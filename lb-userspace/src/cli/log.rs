//! The agent's log: one compact line per event, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Starts the agent's log. `levels` is a level for all modules, such as `info`, or levels by
/// module, such as `lb=debug`.
///
/// # Errors
/// `levels` is invalid, or a log has already been started.
pub(super) fn start(levels: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(levels).map_err(|error: ParseError| {
        format!("invalid log level {levels:?} ({error}): use error, warn, info, debug or trace")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(super::has_colour(&io::stderr()))
        .with_target(false)
        .compact();
    // If standard error goes to the systemd journal, log lines have no time: the journal adds its
    // own.
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let started = if is_journal {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
    started.map_err(|error| format!("cannot start the log: {error}"))
}
