//! The TLS session of a client connection.

use std::{cell::Cell, time::Duration};

/// The TLS session of a client connection; empty before the handshake and without TLS.
#[derive(Debug, Default)]
pub(super) struct TlsSession {
    /// Whether the connection uses TLS 1.3 (else 1.2), and whether the handshake resumed a session.
    kind: Cell<Option<(bool, bool)>>,
    /// Duration of the handshake, until [`Self::take_duration`] takes it; recorded only if there is
    /// an access log.
    took: Cell<Option<Duration>>,
}

impl TlsSession {
    /// Records that the handshake has succeeded, with its version (1.3 or 1.2) and whether it
    /// resumed a session.
    pub(super) fn handshake_succeeded(&self, tls13: bool, resumed: bool) {
        self.kind.set(Some((tls13, resumed)));
    }

    /// Records the duration of the handshake; `None` if it was not measured.
    pub(super) fn took(&self, duration: Option<Duration>) {
        self.took.set(duration);
    }

    /// Returns the TLS version, `1.2` or `1.3`; an empty string without TLS.
    pub(super) fn version(&self) -> &'static str {
        match self.kind.get() {
            None => "",
            Some((false, _)) => "1.2",
            Some((true, _)) => "1.3",
        }
    }

    /// Returns whether the handshake resumed a session; `None` without TLS.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.kind.get().map(|(_, resumed)| resumed)
    }

    /// Returns the duration of the handshake at the first call, and `None` at later calls or if it
    /// was not measured.
    pub(super) fn take_duration(&self) -> Option<Duration> {
        self.took.take()
    }
}
