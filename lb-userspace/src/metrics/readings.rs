//! What was read for one scrape.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_common::backend::BackendState;

use super::ProcessReading;
use crate::{
    access_log,
    config::Name,
    dataplane::{Attachment, Counters, SourcePorts},
};

mod ha;

pub use ha::{CallSecondsReading, ElasticIpReading, FlowsReading, HaReading, LinkReading};

/// All that one scrape shows.
#[derive(Clone, Debug)]
pub struct Readings {
    /// The agent's version.
    pub version: &'static str,
    /// `node.name`.
    pub node: Name,
    /// The interfaces that the XDP program is attached to, and how.
    pub attachments: Vec<Attachment>,
    /// What the kernel counted.
    pub kernel: Counters,
    /// The source ports of the backends that NAT forwards to.
    pub source_ports: Arc<[SourcePorts]>,
    /// The backends of all pools.
    pub backends: Vec<BackendReading>,
    /// The pools, and whether no backend of them is up.
    pub pools: Vec<(Name, bool)>,
    /// Requests of the HTTP front.
    pub requests: Vec<RequestReading>,
    /// Requests by route: service, route, how many.
    pub routed: Vec<(Name, Name, u64)>,
    /// Requests whose response did not reach the client whole: service, backend, reason, how many.
    pub broken: Vec<(Name, Option<Name>, &'static str, u64)>,
    /// How long they took.
    pub latencies: Vec<LatencyReading>,
    /// TLS handshakes of the HTTP front.
    pub handshakes: Vec<HandshakeReading>,
    /// TLS handshakes that failed: service, reason, how many.
    pub handshake_failures: Vec<(Name, &'static str, u64)>,
    /// Client connections of the HTTP front open now, by service.
    pub open_connections: Vec<(Name, u64)>,
    /// Bytes that the HTTP front keeps for its clients.
    pub buffered_bytes: u64,
    /// Client connections of the HTTP front that ended early: service, reason, how many.
    pub closed: Vec<(Name, &'static str, u64)>,
    /// Requests that the HTTP front answered itself because of what the client sent: service, reason,
    /// how many.
    pub refusals: Vec<(Name, &'static str, u64)>,
    /// Requests that it answered in place of a backend for any other reason: service, backend, reason,
    /// how many.
    pub own_answers: Vec<(Name, Option<Name>, &'static str, u64)>,
    /// Times that a request was sent again, by service.
    pub retries: Vec<(Name, u64)>,
    /// Times that it was not, because of the budget.
    pub retries_refused: Vec<(Name, u64)>,
    /// Requests that wait for a backend now, by service.
    pub queued: Vec<(Name, u64)>,
    /// Requests that waited for a backend, by service.
    pub queue_waits: Vec<(Name, u64)>,
    /// Requests that the queue did not take or keep, by service.
    pub queue_rejections: Vec<(Name, u64)>,
    /// Panics in tasks of client connections of the HTTP front, by service.
    pub panics: Vec<(Name, u64)>,
    /// What happened to lines of the access log.
    pub log: access_log::Counted,
    /// Connections of the HTTP front to backends in use now: service, backend, how many.
    pub backend_connections: Vec<(Name, Name, u64)>,
    /// Times that requests had a backend ejected: service, backend, how many.
    pub ejections: Vec<(Name, Name, u64)>,
    /// The certificates that it serves.
    pub certificates: Vec<CertificateReading>,
    /// Orders of certificates: service, outcome, how many.
    pub orders: Vec<(Name, &'static str, u64)>,
    /// When the certificates that are obtained are due to be renewed, by service.
    pub renewals_due: Vec<(Name, SystemTime)>,
    /// The pair; `None` when the host is alone.
    pub ha: Option<HaReading>,
    /// The agent's own process.
    pub process: ProcessReading,
}

/// One backend of one pool.
#[derive(Clone, Debug)]
pub struct BackendReading {
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// The state it is in.
    pub state: BackendState,
    /// Whether it is ejected for failing requests; `None`: its pool ejects none.
    pub ejected: Option<bool>,
    /// How long its last check took; `None` before the first, and where there are none.
    pub check: Option<Duration>,
}

/// Requests answered with one status by one backend.
#[derive(Clone, Debug)]
pub struct RequestReading {
    /// The service.
    pub service: Name,
    /// The backend; `None` where the agent answered itself.
    pub backend: Option<Name>,
    /// The status.
    pub code: u16,
    /// How many.
    pub requests: u64,
}

/// How long the requests of one service took, from the end of the head to the end of the response.
#[derive(Clone, Debug)]
pub struct LatencyReading {
    /// The service.
    pub service: Name,
    /// Upper bounds in seconds, ascending, and how many requests lie below each but above the one
    /// before it. The last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all, in seconds.
    pub sum: f64,
}

/// TLS handshakes of one kind.
#[derive(Clone, Debug)]
pub struct HandshakeReading {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// How many.
    pub handshakes: u64,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct CertificateReading {
    /// The service that serves it.
    pub service: Name,
    /// The first name it is for.
    pub name: String,
    /// The PEM file it comes from.
    pub file: String,
    /// When it ends.
    pub expires: SystemTime,
}
