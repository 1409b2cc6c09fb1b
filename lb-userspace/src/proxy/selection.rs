//! The inputs of choosing a backend for one request.

use super::sticky::StickySession;

/// The inputs of choosing a backend for one request, apart from the state of the pool.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The sticky session; `None` if the pool has none.
    pub(super) session: Option<StickySession>,
    /// The hash of the part of the request that the pool balances by; `None` if there is none.
    pub(super) hash: Option<u64>,
}

impl Selection {
    /// Returns the name of the cookie that is hidden from the backend.
    pub(super) fn hidden_cookie(&self) -> Option<&str> {
        self.session.as_ref().map(StickySession::cookie)
    }

    /// Returns the cookie that the client is given with the response.
    pub(super) fn set_cookie(&self) -> Option<String> {
        self.session.as_ref()?.set_cookie()
    }
}
