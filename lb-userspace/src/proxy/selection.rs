//! The inputs of choosing a backend of a pool for one request.

use super::sticky::StickySession;

/// The inputs of choosing a backend for one request, apart from the state of the pool.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The sticky session of the request; `None` if the pool has no sticky sessions.
    pub(super) session: Option<StickySession>,
    /// The hash of the part of the request by which the pool balances; `None` if the pool balances
    /// by no part of a request, or the request lacks that part.
    pub(super) hash: Option<u64>,
}

impl Selection {
    /// Returns the name of the front's session cookie, which is hidden from the backend; `None` if
    /// the pool has no sticky sessions.
    pub(super) fn hidden_cookie(&self) -> Option<&str> {
        self.session.as_ref().map(StickySession::cookie)
    }

    /// Returns the value of the `Set-Cookie` line that the client gets with the response; `None` if
    /// it needs none.
    pub(super) fn set_cookie(&self) -> Option<String> {
        self.session.as_ref()?.set_cookie()
    }
}
