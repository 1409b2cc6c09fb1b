//! The agent's status: one data type for the JSON API, for `lb status` (as JSON and as tables), and
//! for the status page.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use lb_common::backend::BackendState;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::wording::xdp_in_words;
use crate::pool::{AdminState, AllDown};

mod discovery;
#[cfg(test)]
pub(crate) mod examples;
pub(super) mod ha;

pub use discovery::{DiscoveryStatus, ExcludedStatus};
pub use ha::HaStatus;

/// A snapshot of the agent's state, for operators.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The version of the agent.
    pub version: String,
    /// The name of the host: `node.name` in the configuration.
    pub node: String,
    /// When the agent started.
    pub started: Moment,
    /// When this snapshot was taken, by the clock of the agent's host.
    pub now: Moment,
    /// What keeps the host from doing its work, one sentence for each problem. If there is none,
    /// the agent is healthy.
    pub problems: Vec<String>,
    /// The attachments and packet counters of the XDP program.
    pub xdp: XdpStatus,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// The certificates that the HTTP front serves now.
    pub certificates: Vec<CertificateStatus>,
    /// The certificates that the agent obtains, by service.
    #[serde(default)]
    pub obtained: Vec<ObtainedStatus>,
    /// The state of the pair; `null` for a host without a peer.
    pub ha: Option<HaStatus>,
}

/// The XDP program's attachments and packet counters.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct XdpStatus {
    /// The interfaces that the XDP program is attached to, in the order of the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// Whether the agent adopted the flows of an earlier agent when it started.
    pub adopted: bool,
    /// Number of packets that the XDP program received since its BPF maps were created.
    pub packets: u64,
    /// Number of packets that the XDP program dropped since its BPF maps were created.
    pub dropped: u64,
    /// The dropped packets by reason; reasons without a packet are left out.
    #[serde(default)]
    pub drops: Vec<DropStatus>,
}

/// Packets that the XDP program dropped for one reason.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DropStatus {
    /// The reason, as in the metric `lb_xdp_packets_total`.
    pub reason: String,
    /// Number of packets that were dropped for this reason since the BPF maps were created.
    pub packets: u64,
}

/// An interface that the XDP program is attached to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InterfaceStatus {
    /// The name of the interface.
    pub name: String,
    /// The mode of the attachment: `native` or `generic`.
    pub mode: String,
}

/// A service of the configuration, with its counters.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// The name of the service.
    pub name: String,
    /// The address and port that clients connect to.
    pub listen: SocketAddr,
    /// The mode of the service: `tcp`, `http` or `https`.
    pub mode: String,
    /// How the kernel forwards the service's packets, such as `nat`; `null` for a service that the
    /// HTTP front serves.
    pub forward: Option<String>,
    /// The names of the service's pool and of the pools of its routes, without duplicates,
    /// separated by `, `.
    pub pool: String,
    /// Number of connections that clients opened, as counted by the kernel.
    pub connections: u64,
    /// Number of requests that were answered; `null` for a service that the kernel steers.
    pub requests: Option<u64>,
    /// Sum of the durations of all requests, in seconds; `null` for a service that the kernel
    /// steers.
    #[serde(default)]
    pub request_seconds: Option<f64>,
    /// Number of requests that were answered with a status of 500 or above, or broken off; `null`
    /// for a service that the kernel steers.
    #[serde(default)]
    pub errors: Option<u64>,
    /// Number of client connections that are open; `null` for a service that the kernel steers.
    #[serde(default)]
    pub open_connections: Option<u64>,
    /// Bytes from clients, including IP headers.
    pub bytes_in: u64,
    /// Number of bytes sent to clients, including IP headers; `null` for a service that the HTTP
    /// front serves, because XDP sees only received packets.
    pub bytes_out: Option<u64>,
}

/// A pool of the configuration and its backends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolStatus {
    /// The name of the pool.
    pub name: String,
    /// The balancing algorithm, such as `round_robin`.
    pub balance: String,
    /// A description of the health check, such as `GET / every 2s`; `null` if the backends are not
    /// checked.
    pub check: Option<String>,
    /// What happens to new connections while no backend is up; `null` if at least one is up.
    #[serde(default)]
    pub all_down: Option<AllDown>,
    /// The name of the cookie that keeps a session on one backend; `null` if sessions are not
    /// sticky.
    #[serde(default)]
    pub sticky: Option<String>,
    /// The limit of concurrent requests, and the queue of requests above it; `null` if the pool has
    /// no limit.
    #[serde(default)]
    pub limit: Option<LimitStatus>,
    /// The state of the discovery of the pool's backends; `null` if the configuration lists them.
    #[serde(default)]
    pub discovery: Option<DiscoveryStatus>,
    /// The backends, in the order of the configuration, or of their addresses if they are
    /// discovered.
    pub backends: Vec<BackendStatus>,
}

/// The limit of concurrent requests per backend of a pool, and the queue of requests above it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitStatus {
    /// Maximum number of concurrent requests at each backend.
    pub per_backend: usize,
    /// Number of requests that wait in the pool's queue now.
    pub queued: usize,
    /// Maximum number of requests that may wait in the pool's queue.
    pub queue_size: usize,
}

/// A backend of a pool, with its counters.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BackendStatus {
    /// The name of the backend.
    pub name: String,
    /// The address and port of the backend.
    pub address: SocketAddr,
    /// The configured weight of the backend.
    pub weight: u16,
    /// The present state of the backend.
    pub state: State,
    /// When the backend entered its present state.
    pub since: Moment,
    /// What an operator has set for the backend by `lb backend`; `ready` if nothing.
    pub order: AdminState,
    /// Whether the backend gets requests only while no other backend of its pool is up.
    #[serde(default)]
    pub backup: bool,
    /// Whether the backend is leaving the pool, because the source that it was discovered by no
    /// longer has it.
    #[serde(default)]
    pub leaving: bool,
    /// When the backend's ejection for failing requests ends; `null` if the backend is not ejected.
    #[serde(default)]
    pub ejected_until: Option<Moment>,
    /// Number of requests in flight at the backend that count against the pool's limit; `null` if
    /// the pool has no limit.
    #[serde(default)]
    pub in_use: Option<usize>,
    /// The backend's last health check; `null` before the first check, and in a pool without
    /// checks.
    pub last_check: Option<CheckStatus>,
    /// Durations of the most recent health checks in seconds, at most 40, the oldest first; `null`
    /// for a check that failed.
    #[serde(default)]
    pub recent_checks: Vec<Option<f64>>,
    /// Number of connections that the kernel steered to the backend.
    pub connections: u64,
    /// Number of packets that the kernel forwarded to and from the backend.
    pub packets: u64,
    /// Number of bytes that the kernel forwarded to and from the backend, including IP headers.
    #[serde(default)]
    pub bytes: u64,
    /// Number of connections of the HTTP front to the backend that have a request in flight.
    #[serde(default)]
    pub open_connections: u64,
    /// Number of requests that the backend answered through the HTTP front.
    pub requests: u64,
}

/// The result of a health check of a backend.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckStatus {
    /// When the health check ended.
    pub at: Moment,
    /// How long the health check took, in seconds.
    pub seconds: f64,
    /// Why the health check failed; `null` if it succeeded.
    pub error: Option<String>,
}

/// A certificate that the HTTP front serves.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateStatus {
    /// The PEM file that the certificate was read from.
    pub file: PathBuf,
    /// The DNS names that the certificate is valid for.
    pub names: Vec<String>,
    /// When the certificate expires.
    pub expires: Moment,
}

/// A certificate that the agent obtains by ACME.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ObtainedStatus {
    /// The name of the service that uses the certificate.
    pub service: String,
    /// The DNS names that the certificate is to cover.
    pub domains: Vec<String>,
    /// The path of the file that the certificate is stored in.
    pub file: PathBuf,
    /// When the next order of the certificate begins; `null` while an order is in progress.
    pub next_order: Option<Moment>,
    /// Whether this host is the standby of a pair, so that it orders nothing: only the active host
    /// orders certificates.
    #[serde(default)]
    pub is_standby: bool,
    /// Why the last order failed; `null` if it succeeded, or if there was none.
    pub failure: Option<String>,
}

/// The state of a backend, as operators see it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The backend gets new connections.
    Up,
    /// The backend gets no new connections; established connections continue.
    Draining,
    /// The backend gets no traffic.
    Down,
}

impl From<BackendState> for State {
    fn from(state: BackendState) -> Self {
        match state {
            BackendState::Up => Self::Up,
            BackendState::Draining => Self::Draining,
            BackendState::Down => Self::Down,
        }
    }
}

impl State {
    /// Returns the name of the state, as it is written in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

impl XdpStatus {
    /// Returns the XDP program's attachments as text for display, such as `native XDP on eth0 and
    /// eth1`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let interfaces = self.interfaces.iter();
        xdp_in_words(interfaces.map(|one| (one.mode.as_str(), one.name.as_str())))
    }
}

impl Status {
    /// Returns how long the agent has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.now.since(self.started)
    }
}

impl CertificateStatus {
    /// Returns the number of whole days from `now` until the certificate expires; negative if it
    /// has expired.
    #[must_use]
    pub fn days_left(&self, now: Moment) -> i64 {
        const DAY: u64 = 24 * 60 * 60;
        let days = |span: Duration| i64::try_from(span.as_secs() / DAY).unwrap_or(i64::MAX);
        match self.expires.0.duration_since(now.0) {
            Ok(left) => days(left),
            Err(over) => -1 - days(over.duration()),
        }
    }
}

/// A point in time. JSON has it in the format of RFC 3339, in UTC, with milliseconds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub SystemTime);

impl Moment {
    /// Returns the time from `earlier` to this moment; zero if the clock was set back in between.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = humantime::parse_rfc3339(&text);
        moment.map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_json() {
        let status = examples::status();
        let text = serde_json::to_string(&status).expect("JSON");
        assert!(
            text.contains(r#""since":"2027-01-15T07:56:40.000Z""#),
            "{text}"
        );
        for pair in [
            r#""role":"master","reason":"silence""#,
            r#""kind":"elastic_ip""#,
            r#""owner":"self""#,
        ] {
            assert!(text.contains(pair), "{pair} is missing: {text}");
        }
        let read: Status = serde_json::from_str(&text).expect("a status");
        assert_eq!(read, status);
    }

    #[test]
    fn days_left_count_down_and_below_zero() {
        let mut certificate = examples::status().certificates.remove(0);
        let now = Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400));
        let mut left = |seconds: u64| {
            certificate.expires = Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            certificate.days_left(now)
        };
        assert_eq!(left(101 * 86_400), 1);
        assert_eq!(left(100 * 86_400 + 5), 0);
        assert_eq!(left(100 * 86_400 - 5), -1);
    }
}
