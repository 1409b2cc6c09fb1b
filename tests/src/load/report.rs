//! Results of a load, and their evaluation.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Results of a load: every request is either in `answers` or in `failures`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Number of connections that were opened.
    pub connections: u64,
    /// Number of requests that were answered on a connection which resumed an earlier TLS session.
    pub resumed: u64,
    /// Successful requests, in the order of completion.
    pub answers: Vec<Answer>,
    /// Failed requests, in the order in which they failed.
    pub failures: Vec<Failure>,
}

/// A successful request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the request was begun; this includes opening the connection if it needed a new one.
    pub began: Instant,
    /// When the last byte of the response had arrived.
    pub ended: Instant,
    /// Name of the server that answered.
    pub backend: String,
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When the request was begun.
    pub began: Instant,
    /// When the request's connection was established, according to the client's kernel; `None` if
    /// it never was.
    pub connected: Option<Instant>,
    /// When the request failed or timed out.
    pub ended: Instant,
    /// The reason of the failure, as an error message.
    pub why: String,
}

impl Report {
    /// Returns the number of requests that each backend answered.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<&str, usize> {
        let mut shares = BTreeMap::new();
        for answer in &self.answers {
            *shares.entry(answer.backend.as_str()).or_default() += 1;
        }
        shares
    }

    /// Returns the share of responses that came from one backend, 0 to 1.
    #[must_use]
    pub fn share(&self, backend: &str) -> f64 {
        let all = self.answers.len().max(1) as f64;
        *self.shares().get(backend).unwrap_or(&0) as f64 / all
    }

    /// Returns the longest time from the start of a request to its response.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let took = |answer: &Answer| answer.ended.duration_since(answer.began);
        self.answers.iter().map(took).max().unwrap_or_default()
    }

    /// Returns the report of the requests that were begun at `from` or later.
    #[must_use]
    pub fn since(&self, from: Instant) -> Self {
        Self {
            connections: self.connections,
            resumed: self.resumed,
            answers: (self.answers.iter())
                .filter(|answer| answer.began >= from)
                .cloned()
                .collect(),
            failures: (self.failures.iter())
                .filter(|failure| failure.began >= from)
                .cloned()
                .collect(),
        }
    }

    /// Checks that every request was answered.
    ///
    /// # Errors
    /// When a request failed; the error contains the number of failures and their reasons.
    pub fn all_answered(&self) -> Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} requests failed: {:?}",
            self.failures.len(),
            self.failures.len() + self.answers.len(),
            self.why_failed()
        )
    }

    /// Returns the number of failed requests by reason.
    #[must_use]
    pub fn why_failed(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for failure in &self.failures {
            *kinds.entry(failure.why.as_str()).or_default() += 1;
        }
        kinds
    }
}
