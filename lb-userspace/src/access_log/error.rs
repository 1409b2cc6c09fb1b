//! The errors of opening an access log.

use std::{io, path::PathBuf};

/// The access log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of the access log could not be opened.
    #[error(
        "cannot open the access log {path}: {source}; its folder must exist, and the agent's user \
         must be allowed to write to it"
    )]
    File {
        /// The path of the log file.
        path: PathBuf,
        /// Why the log file could not be opened.
        source: io::Error,
    },
    /// The agent could not connect to the socket of the local syslog daemon.
    #[error("cannot reach syslog at /dev/log for the access log: {0}; does a syslog daemon run?")]
    Syslog(#[source] io::Error),
    /// The thread that writes the access log could not be started.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(#[source] io::Error),
}
