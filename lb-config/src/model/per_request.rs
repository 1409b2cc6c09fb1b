//! The keys of a pool that apply to single requests, for services of mode `http` and `https`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// The keys of a pool that apply to single requests. Services of mode `tcp` cannot use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerRequest {
    /// Sticky sessions; `None` if each request may go to another backend.
    pub sticky: Option<Sticky>,
    /// The part of a request that is hashed to choose a backend; `Some` if, and only if, the pool
    /// balances by hash.
    pub hash_by: Option<HashBy>,
    /// The limit on concurrent requests of each backend; `None` for no limit.
    pub limit: Option<RequestLimit>,
    /// When backends are ejected for failing requests; `None` if they never are.
    pub outlier: Option<Outlier>,
    /// Time in which a backend that came up grows to its whole share of requests; `None` if it gets
    /// its whole share immediately.
    pub slow_start: Option<Duration>,
    /// The limit on retries of requests.
    pub retry_budget: RetryBudget,
}

/// The limit on retries of requests: `retry_budget` and `min_retries_per_second`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBudget {
    /// Maximum number of retries, as a share of the requests. Default 20%.
    pub share: Percent,
    /// Number of retries per second that are allowed in addition to `share`. Default 10.
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

/// `[pool.outlier]`: backends that fail requests in a row are ejected for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Number of failed requests in a row that eject a backend; at least 1. Default 5.
    pub consecutive_failures: u32,
    /// Statuses of responses that count as failures. Default 500 and 502 to 504.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// How long the first ejection of a backend lasts. Default 30 s.
    pub ejection_time: Duration,
    /// The longest duration of an ejection; at least `ejection_time`. Default 5 min.
    pub max_ejection_time: Duration,
    /// The largest share of the pool's backends that may be ejected at the same time. Default 50%.
    pub max_ejected: Percent,
}

impl Outlier {
    /// Whether a response with this status counts as a failure.
    #[must_use]
    pub fn is_failure(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }
}

/// A share in whole percent, at most 100.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Percent(u8);

impl Percent {
    /// Makes a percentage, limited to 100.
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// Returns this percentage of a number, rounded down.
    #[must_use]
    pub fn of(self, number: usize) -> usize {
        let share = number as u128 * u128::from(self.0) / 100;
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

/// The limit on concurrent requests of a backend, and the queue for requests above it:
/// `max_connections` and `[pool.queue]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestLimit {
    /// Maximum number of concurrent requests at each backend, counted in this process.
    pub per_backend: usize,
    /// Maximum number of requests that wait in the queue. Default 1,024.
    pub queue_size: usize,
    /// Maximum time that a request waits in the queue. Default 10 s.
    pub queue_timeout: Duration,
}

/// The part of a request that is hashed to choose a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashBy {
    /// The path and the query of the request.
    Uri,
    /// The path of the request.
    Path,
    /// The first line of the request's header field with this name, which is in lower case.
    Header(String),
    /// The request's cookie with this name.
    Cookie(String),
}

/// `[pool.sticky]`: a cookie keeps a client on its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// The path below which clients send the cookie. Default `/`.
    pub path: String,
    /// Whether clients send the cookie over HTTPS only; `None` if that depends on whether the
    /// client is connected over TLS.
    pub secure: Option<bool>,
    /// Whether scripts of the page cannot read the cookie (the attribute `HttpOnly`). Default true.
    pub http_only: bool,
    /// Whether the cookie is sent with requests that other sites cause. Default lax.
    pub same_site: SameSite,
    /// How long the client keeps the cookie; `None` if only until the browser's session ends.
    pub max_age: Option<Duration>,
    /// The file with the key that cookies are signed with.
    pub key_file: PathBuf,
}

/// With which requests that other sites cause a cookie is sent (the attribute `SameSite`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// The cookie is sent with no request that another site causes.
    Strict,
    /// The cookie is sent with a request that another site causes only for navigation, such as by a
    /// link.
    Lax,
    /// The cookie is sent with every request, whichever site causes it.
    None,
}

impl SameSite {
    /// Returns the value of the cookie's attribute `SameSite`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}
