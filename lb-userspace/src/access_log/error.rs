//! Why an access log could not be opened.

use std::{io, path::PathBuf};

/// A log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error(
        "cannot open the access log {path}: {source}; its folder must exist, and the agent's user \
         must be allowed to write to it"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Syslog.
    #[error("cannot reach syslog at /dev/log for the access log: {0}; does a syslog daemon run?")]
    Syslog(#[source] io::Error),
    /// The thread that writes.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(#[source] io::Error),
}
