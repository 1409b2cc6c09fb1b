//! What is known of the TLS session of a client's connection.

use std::{cell::Cell, time::Duration};

/// A TLS session, or none yet, or none at all.
#[derive(Debug, Default)]
pub(super) struct TlsSession {
    /// Whether it is TLS 1.3, and whether an earlier session was resumed.
    kind: Cell<Option<(bool, bool)>>,
    /// How long the handshake took, until somebody asked; noted only with an access log.
    took: Cell<Option<Duration>>,
}

impl TlsSession {
    /// The handshake has ended.
    pub(super) fn handshake_succeeded(&self, tls13: bool, resumed: bool) {
        self.kind.set(Some((tls13, resumed)));
    }

    /// How long that took.
    pub(super) fn took(&self, duration: Option<Duration>) {
        self.took.set(duration);
    }

    /// `1.2` or `1.3`; empty without TLS.
    pub(super) fn version(&self) -> &'static str {
        match self.kind.get() {
            None => "",
            Some((false, _)) => "1.2",
            Some((true, _)) => "1.3",
        }
    }

    /// Whether an earlier session was resumed; `None` without TLS.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.kind.get().map(|(_, resumed)| resumed)
    }

    /// How long the handshake took, once.
    pub(super) fn take_duration(&self) -> Option<Duration> {
        self.took.take()
    }
}
