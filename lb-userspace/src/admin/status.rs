//! The status: one type for the JSON API, `lb status --json`, the table and the page.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use lb_common::backend::BackendState;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::wording::xdp_in_words;
use crate::pool::{AdminState, AllDown};

pub(super) mod ha;

pub use ha::HaStatus;

/// What the agent does at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// `node.name`.
    pub node: String,
    /// When the agent started.
    pub started: Moment,
    /// When this status was taken, by the agent's clock.
    pub now: Moment,
    /// What keeps the host from doing its work; empty: all is well.
    pub problems: Vec<String>,
    /// The XDP program.
    pub xdp: XdpStatus,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// The certificates that the HTTP front serves.
    pub certificates: Vec<CertificateStatus>,
    /// The certificates that the agent obtains, by service.
    #[serde(default)]
    pub obtained: Vec<ObtainedStatus>,
    /// The pair; `null` when the host is alone.
    pub ha: Option<HaStatus>,
}

/// The XDP program.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct XdpStatus {
    /// The interfaces that it is attached to, in the order of the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// Whether flows of an earlier agent were adopted at the start.
    pub adopted: bool,
    /// Packets seen since the maps were made.
    pub packets: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
}

/// An interface that has the XDP program.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

/// A service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// `tcp`, `http` or `https`.
    pub mode: String,
    /// How the kernel forwards; `null` where the agent serves.
    pub forward: Option<String>,
    /// Its pool; those of its routes after it, each once, separated by `, `.
    pub pool: String,
    /// Connections begun, as the kernel counted them.
    pub connections: u64,
    /// Requests answered; `null` where the kernel steers.
    pub requests: Option<u64>,
    /// Bytes from clients, IP header on.
    pub bytes_in: u64,
    /// Bytes to clients, IP header on; `null` where the agent serves: XDP sees what comes in.
    pub bytes_out: Option<u64>,
}

/// A pool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How a backend is chosen.
    pub balance: String,
    /// The check in words; `null`: the backends are not checked.
    pub check: Option<String>,
    /// What becomes of new connections while no backend is up; `null`: one is.
    #[serde(default)]
    pub all_down: Option<AllDown>,
    /// The cookie that keeps clients with their backends; `null`: none does.
    #[serde(default)]
    pub sticky: Option<String>,
    /// How many requests a backend has at once, and how many wait; `null`: there is no limit.
    #[serde(default)]
    pub limit: Option<LimitStatus>,
    /// Its backends, in the order of the configuration.
    pub backends: Vec<BackendStatus>,
}

/// The limit of a pool's requests.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitStatus {
    /// Requests that each backend has at once, at most.
    pub per_backend: usize,
    /// Requests that wait now.
    pub queued: usize,
    /// Requests that wait at most.
    pub queue_size: usize,
}

/// A backend in its pool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its configured share.
    pub weight: u16,
    /// The state it is in.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// What the operator said.
    pub order: AdminState,
    /// Whether it is used only where no other one is up.
    #[serde(default)]
    pub backup: bool,
    /// Until when it is ejected for failing requests; `null`: it is not.
    #[serde(default)]
    pub ejected_until: Option<Moment>,
    /// Requests under way that count against the pool's limit; `null`: it has none.
    #[serde(default)]
    pub in_use: Option<usize>,
    /// The last check; `null` before the first one, and where there are none.
    pub last_check: Option<CheckStatus>,
    /// Connections that the kernel steered to it.
    pub connections: u64,
    /// Packets that the kernel steered to it and from it.
    pub packets: u64,
    /// Requests that it answered through the HTTP front.
    pub requests: u64,
}

/// The last check of a backend.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CheckStatus {
    /// When it ended.
    pub at: Moment,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it failed; `null`: it succeeded.
    pub error: Option<String>,
}

/// A certificate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateStatus {
    /// The PEM file it comes from.
    pub file: PathBuf,
    /// The names it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub expires: Moment,
}

/// A certificate that the agent obtains.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ObtainedStatus {
    /// The service that it is for.
    pub service: String,
    /// The names that it is for.
    pub domains: Vec<String>,
    /// The file that it is kept in.
    pub file: PathBuf,
    /// When the next order begins; `null`: one is under way.
    pub next_order: Option<Moment>,
    /// Whether the other host of the pair orders: this one does when it has become active.
    #[serde(default)]
    pub is_standby: bool,
    /// Why the last order failed; `null`: it did not.
    pub failure: Option<String>,
}

/// The state of a backend, as users see it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes new connections.
    Up,
    /// Established flows go on; no new ones.
    Draining,
    /// Takes no traffic.
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
    /// The state in a word.
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
    /// How the program is attached: `native XDP on eth0 and eth1`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let interfaces = self.interfaces.iter();
        xdp_in_words(interfaces.map(|one| (one.mode.as_str(), one.name.as_str())))
    }
}

impl Status {
    /// How long the agent has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.now.since(self.started)
    }
}

impl CertificateStatus {
    /// Whole days until it ends; negative when it has ended.
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

/// A point in time; RFC 3339 with milliseconds, UTC, in JSON.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub SystemTime);

impl Moment {
    /// How long after `earlier` this is; nothing when the clock was set back between them.
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
pub(crate) mod examples {
    use super::*;

    /// The same with what a pool does request by request.
    pub(crate) fn per_request() -> Status {
        let mut status = status();
        let now = status.now.0;
        let pool = &mut status.pools[0];
        pool.sticky = Some("lb".to_owned());
        pool.limit = Some(LimitStatus {
            per_backend: 100,
            queued: 3,
            queue_size: 1024,
        });
        pool.backends[0].ejected_until = Some(Moment(now + Duration::from_millis(24_800)));
        pool.backends[0].in_use = Some(7);
        pool.backends[1].backup = true;
        pool.backends[1].in_use = Some(100);
        pool.backends[2].in_use = Some(0);
        status
    }

    /// A status with something of everything in it.
    pub(crate) fn status() -> Status {
        let moment = |second| Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let now = 1_800_000_000;
        let backend =
            |name: &str, address: &str, state, order, error: Option<&str>| BackendStatus {
                name: name.to_owned(),
                address: address.parse().expect("an address"),
                weight: 1,
                state,
                since: moment(now - 200),
                order,
                backup: false,
                ejected_until: None,
                in_use: None,
                last_check: Some(CheckStatus {
                    at: moment(now - 1),
                    seconds: 0.0012,
                    error: error.map(str::to_owned),
                }),
                connections: 250,
                packets: 2500,
                requests: 250,
            };
        Status {
            version: "0.1.0".to_owned(),
            node: "lb-a".to_owned(),
            started: moment(now - 3 * 86_400 - 7_200),
            now: moment(now),
            problems: Vec::new(),
            xdp: XdpStatus {
                interfaces: ["eth0", "eth1"]
                    .map(|name| InterfaceStatus {
                        name: name.to_owned(),
                        mode: "native".to_owned(),
                    })
                    .into(),
                adopted: true,
                packets: 123_456,
                dropped: 7,
            },
            services: vec![
                ServiceStatus {
                    name: "http".to_owned(),
                    listen: "172.31.0.68:80".parse().expect("an address"),
                    mode: "tcp".to_owned(),
                    forward: Some("nat".to_owned()),
                    pool: "web".to_owned(),
                    connections: 750,
                    requests: None,
                    bytes_in: 1 << 20,
                    bytes_out: Some(3 << 30),
                },
                ServiceStatus {
                    name: "https".to_owned(),
                    listen: "172.31.0.68:443".parse().expect("an address"),
                    mode: "https".to_owned(),
                    forward: None,
                    pool: "web".to_owned(),
                    connections: 75,
                    requests: Some(1000),
                    bytes_in: 0,
                    bytes_out: None,
                },
            ],
            pools: vec![PoolStatus {
                name: "web".to_owned(),
                balance: "round_robin".to_owned(),
                check: Some("GET / every 2s".to_owned()),
                all_down: None,
                sticky: None,
                limit: None,
                backends: vec![
                    backend("web1", "10.0.0.6:80", State::Up, AdminState::Ready, None),
                    backend(
                        "web2",
                        "10.0.0.7:80",
                        State::Draining,
                        AdminState::Drain,
                        None,
                    ),
                    backend(
                        "web3",
                        "10.0.0.9:80",
                        State::Down,
                        AdminState::Ready,
                        Some("connection refused"),
                    ),
                ],
            }],
            certificates: vec![CertificateStatus {
                file: "/etc/lb/tls/example.org.pem".into(),
                names: vec!["example.org".to_owned(), "www.example.org".to_owned()],
                expires: moment(now + 61 * 86_400),
            }],
            obtained: Vec::new(),
            ha: Some(ha::examples::ha(moment(now))),
        }
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
