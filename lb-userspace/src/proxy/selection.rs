//! What the choice of a backend for one request depends on.

use super::sticky::StickySession;

/// What the choice of a backend for one request depends on, besides the state of the pool.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The session that it belongs to; `None`: the pool keeps none.
    pub(super) session: Option<StickySession>,
    /// The hash of the part that the pool balances by; `None`: it has none.
    pub(super) hash: Option<u64>,
}

impl Selection {
    /// The cookie that the backend does not see.
    pub(super) fn hidden_cookie(&self) -> Option<&str> {
        self.session.as_ref().map(StickySession::cookie)
    }

    /// The cookie that the client is given with the response.
    pub(super) fn set_cookie(&self) -> Option<String> {
        self.session.as_ref()?.set_cookie()
    }
}
