//! The keys of a pool that apply to single requests, for services of mode `http` and `https`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// The keys of a pool that apply to single requests. Services of mode `tcp` cannot use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerRequest {
    /// Sticky sessions; `None`: requests are independent of each other.
    pub sticky: Option<Sticky>,
    /// The part of a request that is hashed; `Some` if, and only if, the pool balances by hash.
    pub hash_by: Option<HashBy>,
    /// The limit on concurrent requests of a backend; `None`: no limit.
    pub limit: Option<RequestLimit>,
    /// When backends are ejected for failing requests; `None`: never.
    pub outlier: Option<Outlier>,
    /// How long the share of a backend that came up takes to grow; `None`: it gets its whole share
    /// immediately.
    pub slow_start: Option<Duration>,
    /// The limit on retries.
    pub retry_budget: RetryBudget,
}

/// `retry_budget` and `min_retries_per_second`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBudget {
    /// Maximum number of retries, as a share of the requests. Default 20%.
    pub share: Percent,
    /// Retries per second that are allowed in addition to `share`. Default 10.
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
    /// Failures in a row that eject a backend; at least 1. Default 5.
    pub consecutive_failures: u32,
    /// Statuses that are failures. Default 500 and 502 to 504.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// How long the first ejection lasts. Default 30 s.
    pub ejection_time: Duration,
    /// The longest ejection; at least `ejection_time`. Default 5 min.
    pub max_ejection_time: Duration,
    /// The largest share of the pool's backends that is ejected at the same time. Default 50%.
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

/// The limit on concurrent requests and its queue: `max_connections` and `[pool.queue]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestLimit {
    /// Maximum number of concurrent requests of each backend, in this process.
    pub per_backend: usize,
    /// Maximum number of requests in the queue. Default 1,024.
    pub queue_size: usize,
    /// Maximum time that a request waits in the queue. Default 10 s.
    pub queue_timeout: Duration,
}

/// The part of a request that is hashed to choose a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashBy {
    /// The path and the query.
    Uri,
    /// The path.
    Path,
    /// The first line of the header with this name. The name is in lower case.
    Header(String),
    /// The cookie with this name.
    Cookie(String),
}

/// `[pool.sticky]`: a cookie keeps a client on its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// The path that clients send the cookie for. Default `/`.
    pub path: String,
    /// Whether clients send the cookie over HTTPS only; `None`: if the client is connected over
    /// TLS.
    pub secure: Option<bool>,
    /// Whether the cookie is hidden from scripts. Default true.
    pub http_only: bool,
    /// Which requests caused by other sites the cookie is sent with. Default lax.
    pub same_site: SameSite,
    /// How long the client keeps the cookie; `None`: until its session ends.
    pub max_age: Option<Duration>,
    /// The key that cookies are signed with.
    pub key_file: PathBuf,
}

/// Which requests caused by other sites a cookie is sent with (`SameSite`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// With no request that another site causes.
    Strict,
    /// Only with navigation from another site, such as by a link.
    Lax,
    /// With all requests.
    None,
}

impl SameSite {
    /// Returns the value of the cookie's attribute.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}
