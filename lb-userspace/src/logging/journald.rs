//! What journald needs: whether it receives standard error, and the priorities of lines.

use std::{env, io, os::fd::AsFd as _};

use nix::sys::stat::fstat;
use tracing::Level;

/// Whether standard error is connected to journald: `JOURNAL_STREAM` has the device and inode number of the
/// stream (systemd.exec(5)). A child of a service whose standard error is redirected has the variable, too.
pub(super) fn is_at_standard_error() -> bool {
    let stream = env::var("JOURNAL_STREAM").unwrap_or_default();
    let found = fstat(io::stderr().as_fd());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// Returns the prefix by which journald takes the priority from a line (sd-daemon(3)).
pub(super) fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}
