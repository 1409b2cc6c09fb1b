//! The link: the connection between the two agents of a pair.
//!
//! It is a second path for heartbeats beside VRRP, and carries the state that the hosts share:
//! session ticket keys, operator overrides, certificates, and flows.
//!
//! The life of a connection: `dial` or `accept` establishes it, in `tls` both sides prove that they
//! have the pair's `secret`, `greet` exchanges identities and versions, and `session` runs the
//! connection. `frame` defines the messages, `record` how they share the byte stream, `send_queue`
//! in which order they are sent, and `credit` the flow control of messages with flows.
//!
//! The host with the lower address dials and the other host accepts, so that there is one
//! connection. The connection counts as alive while pings are answered, whatever the state of TCP.
//! The newest authenticated connection replaces an older one, so that a dead connection never
//! blocks a new one.

#![forbid(unsafe_code)]

mod accept;
mod certificates;
mod credit;
mod dial;
mod frame;
mod greet;
mod metrics;
mod record;
mod secret;
mod send_queue;
mod session;
mod tls;
mod view;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lb_ha::pair::PairMessage;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

pub use certificates::{
    CertificateFacts, CertificateMessage, Certificates, Difference, DifferenceKind, FileBytes,
    FileError, Inspect, Received,
};
pub use credit::{FlowChunk, Flows};
pub use frame::Message;
pub(crate) use greet::PEER_REFUSED;
pub(crate) use metrics::FAMILIES as METRICS;
pub use secret::{Secret, SecretError, SecretProblem};
pub use view::{Connected, DownReason, PeerInfo, Refusal, Traffic, View};

use crate::config;
use frame::{Hello, Urgent};
use greet::Greeted;
use send_queue::SendHandle;
use session::{Outlets, Rhythm, Session};
use view::Counters;

/// Highest number of events that can wait for the agent to take them.
const WAITING_EVENTS: usize = 256;
/// Time limit from the start of the TLS handshake to the end of the greeting.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
/// The largest number of bytes that one call of [`Bulk::send`] accepts.
pub const BULK_BYTES: usize = record::Lane::Bulk.limit();

/// An event of the link to the peer. A session lasts from an `Up` to the next `Down`.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A session with the peer has begun. The peer must be sent the full state.
    Up(PeerInfo),
    /// The session with the peer has ended, for this reason.
    Down(DownReason),
    /// The peer sent a message about who is active: a heartbeat, or a message of a hand-over of the
    /// active role.
    PairMessage(PairMessage),
    /// The peer sent a part of the state that the hosts share.
    Message(Message),
}

/// Why the link to the peer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the pair's secret cannot be used.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// This host could not listen on its address for connections of the peer.
    #[error("cannot listen for the peer on {address}: {}", listen_hint(.source))]
    Listen {
        /// The address and port to listen on.
        address: SocketAddr,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The TLS library refused the settings that this module gives it.
    #[error("cannot set up TLS for the link to the peer: {0}")]
    Tls(#[from] rustls::Error),
}

/// The link to the agent on the other host. Dropping it closes the connection.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// A link that has been started, and the channels that deliver what it receives.
#[derive(Debug)]
pub struct Started {
    /// The link to the peer.
    pub link: Link,
    /// The events of the link to the peer. Receive them without delay: messages about who is active
    /// are dropped while the channel is full.
    pub events: mpsc::Receiver<Event>,
    /// The flows that the peer sends. If they are received slowly, nothing else is delayed.
    pub flows: Flows,
}

/// Sends flows to the peer during one session.
#[derive(Clone, Debug)]
pub struct Bulk {
    handle: SendHandle,
    known: frame::Capabilities,
    session: u64,
}

/// Why flows were not sent to the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BulkError {
    /// The session has ended. It is not known whether flows that were sent before have arrived.
    #[error("the connection to the peer is closed")]
    Down,
    /// The chunk of flows has this many bytes, which are more than [`BULK_BYTES`].
    #[error("{0} bytes of flows are too long for one message to the peer")]
    TooLong(usize),
}

/// The state that the tasks of the link to the peer share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    counters: Counters,
    sessions: AtomicU64,
    current: Mutex<Option<Bulk>>,
}

/// The settings of the link to the peer.
#[derive(Clone, Debug)]
struct Settings {
    /// This host's address, and the port that it listens on.
    source: SocketAddr,
    /// The peer's address, and the port that the peer listens on.
    peer: SocketAddr,
    /// Whether connections that do not come from the peer's address are refused before anything is
    /// read from them.
    check_source: bool,
    hello: Hello,
    rhythm: Rhythm,
    protocol: u16,
}

impl Link {
    /// Starts the link to the peer, for which this host either connects or listens. `node` is this
    /// host's name. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The secret cannot be used, or the address cannot be listened on.
    pub fn start(
        ha: &config::Ha,
        link: &config::PeerLink,
        node: &config::Name,
    ) -> Result<Started, Error> {
        let secret = Secret::read(&link.secret_file)?;
        let mut instance = [0; 8];
        aws_lc_rs::rand::fill(&mut instance).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        let settings = Settings {
            source: SocketAddr::new(ha.source, link.port),
            peer: SocketAddr::new(ha.peer, link.port),
            check_source: ha.check_source,
            hello: Hello {
                node: node.to_string(),
                version: frame::Capabilities::ours(),
                instance: u64::from_ne_bytes(instance),
            },
            rhythm: Rhythm::of(ha.advert_interval),
            protocol: frame::PROTOCOL,
        };
        Self::start_with(settings, &secret)
    }

    fn start_with(settings: Settings, secret: &Secret) -> Result<Started, Error> {
        let dials = settings.source.ip() < settings.peer.ip();
        let shared = Arc::new(Shared {
            settings,
            counters: Counters::new(dials),
            sessions: AtomicU64::new(0),
            current: Mutex::default(),
        });
        let (events, to_agent) = mpsc::channel(WAITING_EVENTS);
        // The channel has room for the messages that one connection may have in flight, and for
        // those that are left of the connection before it.
        let (flows, to_sync) = mpsc::channel(2 * credit::WINDOW as usize);
        let outlets = Outlets { events, flows };
        let mut tasks = JoinSet::new();
        let _handle = if dials {
            let config = tls::client_config(secret)?;
            tasks.spawn(dial::run(Arc::clone(&shared), config, outlets))
        } else {
            let config = tls::server_config(secret)?;
            let listener = accept::bind(shared.settings.source)?;
            tasks.spawn(accept::run(Arc::clone(&shared), listener, config, outlets))
        };
        Ok(Started {
            link: Self {
                shared,
                _tasks: tasks,
            },
            events: to_agent,
            flows: Flows(to_sync),
        })
    }

    /// Sends a message about who is active, such as a heartbeat. Never waits: returns false if
    /// there is no session, or if so many messages wait that it would arrive too late.
    pub fn send_pair_message(&self, message: PairMessage) -> bool {
        let current = self.shared.current();
        let sent = current.is_some_and(|bulk| bulk.handle.urgent(Urgent::Pair(message)));
        if !sent {
            self.shared.counters.dropped_words.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Sends a part of the state that the hosts share. Never waits: returns false if there is no
    /// session, or if the peer runs an older version that does not support the message. If too many
    /// messages wait already, the session ends, and the state is sent again after the next `Up`.
    pub fn send(&self, message: &Message) -> bool {
        let current = self.shared.current();
        current.is_some_and(|bulk| bulk.known.has(message) && bulk.handle.control(message))
    }

    /// Returns the sender of flows for the present session; `None` while the link to the peer is
    /// down.
    #[must_use]
    pub fn bulk(&self) -> Option<Bulk> {
        self.shared.current()
    }

    /// Returns the state and the counters of the link to the peer.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.counters.view()
    }
}

impl Bulk {
    /// Sends a chunk of flows. Waits until the peer has room for it.
    ///
    /// # Errors
    /// The session has ended, or `bytes` has more than [`BULK_BYTES`].
    pub async fn send(&self, bytes: Vec<u8>) -> Result<(), BulkError> {
        if bytes.len() > BULK_BYTES {
            return Err(BulkError::TooLong(bytes.len()));
        }
        self.handle.bulk(bytes).await.map_err(|_| BulkError::Down)
    }

    /// Returns the number of the session: see [`PeerInfo::session`].
    #[must_use]
    pub fn session(&self) -> u64 {
        self.session
    }
}

impl Shared {
    /// Runs a connection to its end, and reports its beginning and its end as events. Returns
    /// `None` when the agent has dropped the link to the peer.
    async fn hold(&self, greeted: Greeted, outlets: &Outlets) -> Option<DownReason> {
        self.run(greeted, outlets, std::future::pending()).await
    }

    /// Does what [`Self::hold`] does, and also ends the connection when `replaced` completes.
    async fn run(
        &self,
        greeted: Greeted,
        outlets: &Outlets,
        replaced: impl Future<Output = ()>,
    ) -> Option<DownReason> {
        let Greeted { stream, hello } = greeted;
        let number = self.sessions.fetch_add(1, Relaxed) + 1;
        let (known, version) = frame::Capabilities::read(&hello.version);
        let peer = PeerInfo {
            version: version.to_owned(),
            node: hello.node,
            address: self.settings.peer.ip(),
            session: number,
        };
        let (session, send_queue) =
            Session::new(number, self.settings.rhythm, &self.counters, outlets);
        self.up(&peer, session.handle(), known);
        outlets.events.send(Event::Up(peer)).await.ok()?;
        let down = tokio::select! {
            down = session.run(stream, send_queue) => down,
            () = replaced => DownReason::Replaced,
        };
        self.down(&down);
        outlets.events.send(Event::Down(down.clone())).await.ok()?;
        Some(down)
    }

    fn up(&self, peer: &PeerInfo, handle: SendHandle, known: frame::Capabilities) {
        let PeerInfo {
            node,
            version,
            address,
            session,
        } = peer;
        tracing::info!(%node, peer = %address, %version, event = "link_up", "the link is up");
        if *node == self.settings.hello.node {
            tracing::warn!(%node, "both hosts have the same name: set different values of `node.name`");
        }
        self.counters.up(peer.clone());
        let session = *session;
        *self.lock() = Some(Bulk {
            handle,
            known,
            session,
        });
    }

    fn down(&self, reason: &DownReason) {
        *self.lock() = None;
        self.counters.down(reason);
        tracing::warn!(%reason, event = "link_down", "the link is down");
    }

    fn current(&self) -> Option<Bulk> {
        self.lock().clone()
    }

    /// Locks the sender of the present session. The state is consistent even after a panic, because
    /// it changes by one assignment.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Bulk>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection that was refused, and logs it, at most once a minute for each reason.
    fn refused(&self, refusal: Refusal, sentence: &str) {
        if self.counters.refused(refusal, sentence) {
            tracing::warn!(reason = refusal.word(), error = %sentence, "refused a connection");
        }
    }
}

/// Sets the socket options of a connection: small messages are sent without delay, little unsent
/// data may wait in the kernel before a heartbeat, and TCP gives up at twice the time-out of the
/// link.
fn set_up(stream: &TcpStream, rhythm: Rhythm) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(2 * record::PART_BYTES as u32)?;
    socket.set_tcp_user_timeout(Some(2 * rhythm.silence))
}

fn listen_hint(source: &io::Error) -> String {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; `ss -ltnp` shows it",
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have that address; `ip address` lists those that `ha.source` may be"
        }
        _ => return source.to_string(),
    };
    format!("{source}: {hint}")
}

#[cfg(test)]
mod tests;
