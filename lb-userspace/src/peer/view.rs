//! The counters and the state of the link to the peer.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

/// Shortest time between two log lines about refusals for the same reason.
const SAID_FOR: Duration = Duration::from_secs(60);

/// What is known of the peer's agent, at the other end of the link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerInfo {
    /// The name of the peer's node (host).
    pub node: String,
    /// The version of `lb` that the peer runs.
    pub version: String,
    /// The address of the peer.
    pub address: IpAddr,
    /// The number of the session. The agent counts the sessions of its link from 1.
    pub session: u64,
}

/// Why a connection was refused before the greeting was complete.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The connection does not come from the peer's address.
    Address,
    /// Too many newer connections had a handshake in progress.
    Crowded,
    /// The handshake and greeting took too long.
    Timeout,
    /// The connection ended before the greeting was complete.
    Closed,
    /// The other side does not speak TLS 1.3, or does not speak it correctly.
    Handshake,
    /// The other side does not have the pair's secret.
    Secret,
    /// The other side has the secret, but sent no valid greeting.
    Greeting,
    /// The other side speaks another version of the protocol of the link between the agents.
    Version,
    /// The connection comes from this same agent.
    Itself,
}

impl Refusal {
    /// All reasons for which connections are refused.
    pub const ALL: [Self; 9] = [
        Self::Address,
        Self::Crowded,
        Self::Timeout,
        Self::Closed,
        Self::Handshake,
        Self::Secret,
        Self::Greeting,
        Self::Version,
        Self::Itself,
    ];

    /// Returns the reason as one word, for status and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Crowded => "crowded",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Handshake => "handshake",
            Self::Secret => "secret",
            Self::Greeting => "greeting",
            Self::Version => "version",
            Self::Itself => "itself",
        }
    }
}

/// Why a session of the link to the peer ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DownReason {
    /// The peer did not answer this host's pings in time.
    Silent,
    /// The peer closed the connection: its agent ended, or its own time-out passed.
    Closed,
    /// The network broke the connection, with this error of the kernel.
    Broken(String),
    /// A newer connection of the peer has replaced this one.
    Replaced,
    /// The peer violated the link's protocol, in this way.
    Malformed(String),
    /// More messages were received or sent than the queues hold. The next session begins with the
    /// full state.
    Overrun,
}

impl DownReason {
    /// The word that [`Self::word`] returns for [`Self::Malformed`].
    pub const MALFORMED: &'static str = "malformed";

    /// Returns the reason as one word, for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::Replaced => "replaced",
            Self::Malformed(_) => Self::MALFORMED,
            Self::Overrun => "overrun",
        }
    }

    const WORDS: [&'static str; 6] = [
        "silent",
        "closed",
        "broken",
        "replaced",
        "malformed",
        "overrun",
    ];
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("the peer has not answered in time"),
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Replaced => f.write_str("the peer has opened a new connection"),
            Self::Malformed(what) => write!(f, "the peer violated the protocol: {what}"),
            Self::Overrun => {
                f.write_str("more messages were received or sent than the queues hold")
            }
        }
    }
}

/// Numbers of bytes and frames that were sent over the link to the peer, or of those that were
/// received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Traffic {
    /// Number of bytes, without those that TLS adds.
    pub bytes: u64,
    /// Number of complete frames.
    pub frames: u64,
}

/// The state and the counters of the link to the peer.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Whether this host dials the peer. If not, it accepts the peer's connections.
    pub dials: bool,
    /// The session that is up; `None` while the link to the peer is down.
    pub connected: Option<Connected>,
    /// Number of sessions that began since the agent started.
    pub ups: u64,
    /// Numbers of sessions that ended, by [`DownReason::word`]; every word has an entry.
    pub downs: Vec<(&'static str, u64)>,
    /// What was sent over the link to the peer since the agent started.
    pub sent: Traffic,
    /// What was received over the link to the peer since the agent started.
    pub received: Traffic,
    /// Numbers of connections that were refused, by reason; every reason has an entry.
    pub refused: Vec<(Refusal, u64)>,
    /// Number of attempts to connect to the peer that did not reach it.
    pub unreached: u64,
    /// Number of messages about who is active, such as heartbeats, that were dropped, because there
    /// was no session or the queue was full.
    pub dropped_words: u64,
    /// Why there is no session, as a sentence; `None` if that is not known.
    pub problem: Option<String>,
}

/// A session of the link to the peer that is up.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// What is known of the agent at the other end.
    pub peer: PeerInfo,
    /// When the session came up.
    pub since: SystemTime,
    /// Round-trip time of the last ping, including the time in queues; `None` before the first ping
    /// was answered.
    pub round_trip: Option<Duration>,
}

/// The counters of the link to the peer, which all its tasks share.
#[derive(Debug)]
pub(super) struct Counters {
    dials: bool,
    current: Mutex<Current>,
    pub(super) ups: AtomicU64,
    downs: [AtomicU64; DownReason::WORDS.len()],
    pub(super) sent: Flow,
    pub(super) received: Flow,
    refused: [AtomicU64; Refusal::ALL.len()],
    pub(super) unreached: AtomicU64,
    pub(super) dropped_words: AtomicU64,
}

#[derive(Debug, Default)]
struct Current {
    connected: Option<Connected>,
    problem: Option<String>,
    /// When a refusal for each reason was last written to the log.
    said: [Option<Instant>; Refusal::ALL.len()],
}

/// Counters of the bytes and frames in one direction of the link to the peer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    bytes: AtomicU64,
    frames: AtomicU64,
}

impl Flow {
    pub(super) fn count(&self, bytes: usize, is_whole: bool) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.frames.fetch_add(u64::from(is_whole), Relaxed);
    }

    fn view(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.load(Relaxed),
            frames: self.frames.load(Relaxed),
        }
    }
}

impl Counters {
    pub(super) fn new(dials: bool) -> Self {
        Self {
            dials,
            current: Mutex::default(),
            ups: AtomicU64::new(0),
            downs: Default::default(),
            sent: Flow::default(),
            received: Flow::default(),
            refused: Default::default(),
            unreached: AtomicU64::new(0),
            dropped_words: AtomicU64::new(0),
        }
    }

    pub(super) fn up(&self, peer: PeerInfo) {
        self.ups.fetch_add(1, Relaxed);
        let mut current = self.current();
        current.problem = None;
        current.connected = Some(Connected {
            peer,
            since: SystemTime::now(),
            round_trip: None,
        });
    }

    pub(super) fn down(&self, reason: &DownReason) {
        let mut words = DownReason::WORDS.iter();
        let index = words.position(|word| *word == reason.word());
        self.downs[index.unwrap_or(0)].fetch_add(1, Relaxed);
        let mut current = self.current();
        current.connected = None;
        current.problem = Some(reason.to_string());
    }

    pub(super) fn round_trip(&self, took: Duration) {
        if let Some(connected) = &mut self.current().connected {
            connected.round_trip = Some(took);
        }
    }

    /// Counts a connection that was refused. While there is no session, the sentence `problem` is
    /// kept as the reason why. Returns whether to log the refusal: at most once a minute for each
    /// reason.
    pub(super) fn refused(&self, refusal: Refusal, problem: &str) -> bool {
        let index = Refusal::ALL.iter().position(|one| *one == refusal);
        let index = index.unwrap_or(0);
        self.refused[index].fetch_add(1, Relaxed);
        self.problem(problem);
        let said = &mut self.current().said[index];
        let is_due = said.is_none_or(|said| said.elapsed() >= SAID_FOR);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }

    /// Records the sentence that says why there is no session. Returns whether it differs from the
    /// last one.
    pub(super) fn problem(&self, problem: &str) -> bool {
        let mut current = self.current();
        let is_new = current.problem.as_deref() != Some(problem);
        if current.connected.is_none() {
            current.problem = Some(problem.to_owned());
        }
        is_new
    }

    pub(super) fn view(&self) -> View {
        let current = self.current();
        let counts = |counts: &[AtomicU64]| -> Vec<u64> {
            counts.iter().map(|count| count.load(Relaxed)).collect()
        };
        View {
            dials: self.dials,
            connected: current.connected.clone(),
            ups: self.ups.load(Relaxed),
            downs: DownReason::WORDS
                .into_iter()
                .zip(counts(&self.downs))
                .collect(),
            sent: self.sent.view(),
            received: self.received.view(),
            refused: Refusal::ALL
                .into_iter()
                .zip(counts(&self.refused))
                .collect(),
            unreached: self.unreached.load(Relaxed),
            dropped_words: self.dropped_words.load(Relaxed),
            problem: current.problem.clone(),
        }
    }

    /// Locks the current state. The state is consistent even after a panic, because every change is
    /// one assignment.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
