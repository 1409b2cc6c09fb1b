//! The errors that opening an access log can return.

use std::{io, path::PathBuf};

/// The access log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened.
    #[error(
        "cannot open the access log {path}: {source}; its folder must exist, and the agent's user \
         must be allowed to write to it"
    )]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error that the kernel returned.
        source: io::Error,
    },
    /// The syslog socket could not be connected.
    #[error("cannot reach syslog at /dev/log for the access log: {0}; does a syslog daemon run?")]
    Syslog(#[source] io::Error),
    /// The writing thread could not be started.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(#[source] io::Error),
}
