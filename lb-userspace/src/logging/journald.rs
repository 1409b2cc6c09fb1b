//! Logging to journald: whether standard error is connected to it, and the prefixes that give it
//! the priorities of lines.

use std::{env, io, os::fd::AsFd as _};

use nix::sys::stat::fstat;
use tracing::Level;

/// Whether standard error is connected to journald: the environment variable `JOURNAL_STREAM` has
/// the device and inode number of the stream to journald (systemd.exec(5)), which are compared with
/// those of standard error. The variable alone does not tell, because a child process whose
/// standard error is redirected inherits it.
pub(super) fn is_at_standard_error() -> bool {
    let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
    let found = fstat(io::stderr().as_fd());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// Returns the prefix of a log line from which journald takes the priority of the line
/// (sd-daemon(3)).
pub(super) fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}
