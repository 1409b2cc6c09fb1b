//! The log: one compact line an event, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Starts the log. `levels` is a level, or several by module.
///
/// # Errors
/// Levels that are none.
pub(super) fn start(levels: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(levels).map_err(|error: ParseError| {
        format!("{levels:?} is no log level ({error}): say error, warn, info, debug or trace")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(super::has_colour(&io::stderr()))
        .with_target(false)
        .compact();
    // The journal has its own clock.
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    let started = if is_journal {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
    started.map_err(|error| format!("cannot start the log: {error}"))
}
