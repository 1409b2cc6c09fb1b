//! Formats the state of discovery for `lb status` and the status page.

use super::span;
use crate::admin::status::{DiscoveryStatus, Moment, PoolStatus};

impl DiscoveryStatus {
    /// Returns the source for display, and when it answered last, such as `backends from DNS name
    /// web.internal, confirmed 3s ago`.
    #[must_use]
    pub fn in_words(&self, now: Moment) -> String {
        let Self {
            source, answered, ..
        } = self;
        match answered {
            Some(answered) => {
                format!(
                    "backends from {source}, confirmed {} ago",
                    span(now.since(*answered))
                )
            }
            None => format!("backends from {source}, which has not answered yet"),
        }
    }

    /// Returns a sentence without a full stop for each problem of the discovery.
    #[must_use]
    pub fn problems(&self, now: Moment) -> Vec<String> {
        let failing = self.failing_since.zip(self.error.as_ref());
        let failing = failing.map(|(since, error)| {
            let since = span(now.since(since));
            format!("discovery has failed for {since}, the backends stay as they are: {error}")
        });
        let excluded = self.excluded.iter();
        let excluded = excluded.map(|one| format!("{} is not used: {}", one.address, one.reason));
        failing.into_iter().chain(excluded).collect()
    }
}

impl PoolStatus {
    /// Returns the source of the pool's backends and the problems of the discovery, for display;
    /// `None` and no problems if the configuration lists the backends.
    #[must_use]
    pub fn discovery_in_words(&self, now: Moment) -> (Option<String>, Vec<String>) {
        let Some(discovery) = &self.discovery else {
            return (None, Vec::new());
        };
        (Some(discovery.in_words(now)), discovery.problems(now))
    }
}
