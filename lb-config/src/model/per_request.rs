//! What a pool does request by request. For services of mode `http` and `https`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// What a pool does request by request. Nothing of it is for services of mode `tcp`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerRequest {
    /// Sessions that stay with their backend; `None`: none do.
    pub sticky: Option<Sticky>,
    /// What is hashed; there where the pool balances by hash, and only there.
    pub hash_by: Option<HashBy>,
    /// How many requests a backend has at once; `None`: any number.
    pub limit: Option<RequestLimit>,
    /// When backends that fail requests are ejected; `None`: never.
    pub outlier: Option<Outlier>,
    /// How long the share of a backend that came up grows; `None`: it has all of it at once.
    pub slow_start: Option<Duration>,
    /// How many retries there are at most.
    pub retry_budget: RetryBudget,
}

/// `retry_budget` and `min_retries_per_second`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBudget {
    /// The share of requests that are sent again, at most. Default 20%.
    pub share: Percent,
    /// Retries a second besides. Default 10.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            share: Percent::new(20),
            per_second: 10,
        }
    }
}

/// `[pool.outlier]`: backends that fail requests in a row are ejected for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Failures in a row that eject a backend; at least 1. Default 5.
    pub consecutive_failures: u32,
    /// Statuses that are failures. Default 500 and 502 to 504.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// How long the first ejection lasts. Default 30 s.
    pub ejection_time: Duration,
    /// How long one lasts at most; at least `ejection_time`. Default 5 min.
    pub max_ejection_time: Duration,
    /// How many of the pool's backends are ejected at once. Default 50%.
    pub max_ejected: Percent,
}

impl Outlier {
    /// Whether a backend that answers with that status fails.
    #[must_use]
    pub fn is_failure(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }
}

/// A share in whole percent, at most 100.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Percent(u8);

impl Percent {
    /// That many percent; 100 where it is more.
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// That share of a number, rounded down.
    #[must_use]
    pub fn of(self, number: usize) -> usize {
        let share = number as u128 * u128::from(self.0) / 100;
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

/// `max_connections` and `[pool.queue]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestLimit {
    /// Requests that each backend has at once, in this process.
    pub per_backend: usize,
    /// Requests that wait, at most. Default 1,024.
    pub queue_size: usize,
    /// How long a request waits. Default 10 s.
    pub queue_timeout: Duration,
}

/// What of a request is hashed to choose a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashBy {
    /// The path and the query.
    Uri,
    /// The path.
    Path,
    /// The first line of a header of that name, in lower case.
    Header(String),
    /// The cookie of that name.
    Cookie(String),
}

/// `[pool.sticky]`: a cookie keeps a client with its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// The paths that the cookie is for. Default `/`.
    pub path: String,
    /// Whether the cookie is for HTTPS only; `None`: where the client is connected over TLS.
    pub secure: Option<bool>,
    /// Whether scripts cannot read it. Default true.
    pub http_only: bool,
    /// With which requests from other sites it is sent. Default lax.
    pub same_site: SameSite,
    /// How long the client keeps it; `None`: to the end of its session.
    pub max_age: Option<Duration>,
    /// The key that cookies are signed with.
    pub key_file: PathBuf,
}

/// With which requests that other sites cause a cookie is sent (`SameSite`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With navigation.
    Lax,
    /// With all.
    None,
}

impl SameSite {
    /// The word of the attribute.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}
