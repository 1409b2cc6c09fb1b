//! The values of the status, formatted for display.

use super::{count, counted, milliseconds, span};
use crate::{
    admin::{BackendStatus, Moment, PoolStatus, ServiceStatus, State},
    pool::{AdminState, AllDown},
};

impl ServiceStatus {
    /// Returns the mode of the service for display, such as `tcp, nat` or `https`.
    #[must_use]
    pub fn mode_in_words(&self) -> String {
        match &self.forward {
            Some(forward) => format!("{}, {forward}", self.mode),
            None => self.mode.clone(),
        }
    }
}

impl AllDown {
    /// Returns, as a sentence, what happens to new connections of a pool while none of its backends
    /// is up.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Trying => "no backend is up: new connections are tried on all backends",
            Self::Refusing => "no backend is up: new connections are refused",
        }
    }
}

impl PoolStatus {
    /// Returns the number of packets to and from all backends of the pool.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.backends.iter().map(|backend| backend.packets).sum()
    }

    /// Returns the per-request features that the pool uses, for display: `sticky by
    /// cookie lb`, `3 requests queued, at most 1,024`.
    #[must_use]
    pub fn per_request_in_words(&self) -> Vec<String> {
        let sticky = self.sticky.as_ref();
        let sticky = sticky.map(|cookie| format!("sticky by cookie {cookie}"));
        let queued = self.limit.map(|limit| {
            let (queued, size) = (limit.queued as u64, limit.queue_size as u64);
            let queued = counted(queued, "request");
            format!("{queued} queued, at most {}", count(size))
        });
        sticky.into_iter().chain(queued).collect()
    }

    /// Returns a backend's requests in flight and their limit, such as `7 of 100`; `None` without a
    /// limit.
    #[must_use]
    pub fn in_use_in_words(&self, backend: &BackendStatus) -> Option<String> {
        let limit = self.limit?.per_backend as u64;
        let in_use = backend.in_use.unwrap_or_default() as u64;
        Some(format!("{} of {}", count(in_use), count(limit)))
    }

    /// Returns the number of requests answered by all backends of the pool.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.backends.iter().map(|backend| backend.requests).sum()
    }
}

impl BackendStatus {
    /// Returns the state for display, with anything else that keeps requests away from the backend:
    /// an operator override, being a backup, an ejection.
    #[must_use]
    pub fn state_in_words(&self, now: Moment) -> String {
        let state = self.state.as_str();
        let mut words = match (self.state, self.order) {
            (State::Down, AdminState::Down) => format!("{state} (override)"),
            (State::Down, AdminState::Drain) => format!("{state} (drained)"),
            _ if self.leaving => format!("{state} (leaving)"),
            _ => state.to_owned(),
        };
        if self.backup {
            words += ", backup";
        }
        if let Some(until) = self.ejected_until {
            words += &format!(", ejected for {}", span(until.since(now)));
        }
        words
    }

    /// Returns the duration of the backend's last health check, or why the check failed; a dash
    /// before the first check.
    #[must_use]
    pub fn last_check_in_words(&self) -> String {
        match &self.last_check {
            None => "–".to_owned(),
            Some(check) => match &check.error {
                None => milliseconds(check.seconds),
                Some(error) => error.clone(),
            },
        }
    }
}
