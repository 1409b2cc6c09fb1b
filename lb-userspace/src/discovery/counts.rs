//! Counts the queries of a source by their outcome.

use super::{Answer, SourceError};

/// How many queries of a source had each outcome, since the agent started or the source was
/// configured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QueryCounts {
    /// Queries that found at least one backend.
    pub answered: u64,
    /// Queries that found no backends.
    pub empty: u64,
    /// Queries that failed.
    pub failed: u64,
}

impl QueryCounts {
    /// Counts a query with this outcome.
    pub(super) fn count(&mut self, outcome: &Result<Answer, SourceError>) {
        match outcome {
            Ok(answer) if answer.backends.is_empty() => self.empty += 1,
            Ok(_) => self.answered += 1,
            Err(_) => self.failed += 1,
        }
    }
}
