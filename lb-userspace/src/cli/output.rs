//! The output of the commands, and how they fail.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write as _},
};

/// Exit code of a command that failed.
pub(super) const FAILED: u8 = 1;
/// Exit code for an invalid configuration.
pub(super) const BAD_CONFIG: u8 = 2;

/// The message and exit code of a failed command. An empty message is not printed.
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) code: u8,
}

pub(super) fn failed(error: impl Display) -> Failure {
    Failure {
        text: format!("lb: {error}"),
        code: FAILED,
    }
}

/// Prints to standard output. A closed pipe (`lb status | head`) is not a failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_unless_closed(text).map(drop)
}

/// Prints to standard output. Returns false if it is a closed pipe.
pub(super) fn print_unless_closed(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Returns whether to colour output to `stream`: if it is a terminal and `NO_COLOR` is not set
/// (<https://no-color.org>).
pub(super) fn has_colour(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}
