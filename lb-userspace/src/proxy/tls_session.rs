//! The TLS session of a client connection.

use std::{cell::Cell, time::Duration};

/// The TLS session of a connection; empty before the handshake and without TLS.
#[derive(Debug, Default)]
pub(super) struct TlsSession {
    /// Whether the connection uses TLS 1.3, and whether a session was resumed.
    kind: Cell<Option<(bool, bool)>>,
    /// Duration of the handshake, until it is taken; recorded only if there is an access log.
    took: Cell<Option<Duration>>,
}

impl TlsSession {
    /// Records that the handshake has succeeded.
    pub(super) fn handshake_succeeded(&self, tls13: bool, resumed: bool) {
        self.kind.set(Some((tls13, resumed)));
    }

    /// Records the duration of the handshake.
    pub(super) fn took(&self, duration: Option<Duration>) {
        self.took.set(duration);
    }

    /// Returns `1.2` or `1.3`; empty without TLS.
    pub(super) fn version(&self) -> &'static str {
        match self.kind.get() {
            None => "",
            Some((false, _)) => "1.2",
            Some((true, _)) => "1.3",
        }
    }

    /// Returns whether a session was resumed; `None` without TLS.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.kind.get().map(|(_, resumed)| resumed)
    }

    /// Returns the duration of the handshake at the first call, and `None` at later calls.
    pub(super) fn take_duration(&self) -> Option<Duration> {
        self.took.take()
    }
}
