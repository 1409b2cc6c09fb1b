//! The parsed configuration: every value is valid, every reference resolved.

mod acme;
mod ha;
mod interfaces;
mod log;
mod per_request;
mod routing;
mod timeouts;
mod tls;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroUsize},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use self::{
    acme::{Acme, AcmeChallenge, DnsHook, ExternalAccount, Obtained},
    ha::{
        Authentication, ElasticIp, Ha, InterfaceAddress, Moves, Notify, PeerLink, TrackScript,
        Transport, VrrpVersion,
    },
    interfaces::Interfaces,
    log::{AccessField, AccessFormat, AccessLog, FormatPart, Log, LogTarget},
    per_request::{
        HashBy, Outlier, PerRequest, Percent, RequestLimit, RetryBudget, SameSite, Sticky,
    },
    routing::{
        Action, HeaderEdits, HeaderRule, HeaderTest, HostRule, PathRule, Pattern, Redirect,
        Respond, RespondBody, Route, Routing, Template, TemplatePart, Variable,
    },
    timeouts::Timeouts,
    tls::{CipherSuite, ClientAuthorities, ClientCertificates, KeyExchange, Tls, TlsVersion},
};

/// A whole configuration. Every value is valid and every reference resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This host.
    pub node: Node,
    /// The listeners for the operator and Prometheus.
    pub admin: Admin,
    /// The packet path.
    pub dataplane: Dataplane,
    /// Limits of the HTTP front, for all its services.
    pub http: Http,
    /// The records of requests.
    pub log: Log,
    /// How certificates are obtained; `None`: the agent obtains none, all are files of the
    /// operator.
    pub acme: Option<Acme>,
    /// The pools, in the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// High availability with a peer; `None`: this host has no peer.
    pub ha: Option<Ha>,
}

/// The name of a node, service, pool or backend: 1 to 63 of `a-z A-Z 0-9 . _ -` and, for backends
/// named after their address, `:` and brackets.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

impl Name {
    /// Parses a name; `None` if it is empty, longer than 63 bytes or has other characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'[' | b']')
        };
        ((1..=63).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// Returns the name that metrics and logs use for requests that no route matches.
    #[must_use]
    pub fn default_route() -> Self {
        Self(Arc::from("default"))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// `[node]`: this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name of this host in status and logs.
    pub name: Name,
    /// The network interfaces that the XDP program is attached to.
    pub interfaces: Interfaces,
}

/// `[admin]`: the listeners for the operator and Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// HTTP: `/metrics`, `/healthz`, `/`, the JSON status, all read-only.
    pub listen: SocketAddr,
    /// The Unix socket that `lb status`, `lb backend …`, `lb failover` and `lb reload` connect to, with
    /// mode 0600. Default `/run/lb/lb.sock`.
    pub socket: PathBuf,
}

/// `[dataplane]`: the packet path.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataplane {
    /// The folder of the pinned maps, program and links. Default `/sys/fs/bpf/lb`.
    pub pin_path: PathBuf,
    /// Maximum number of connections that the kernel tracks. Default 250,000.
    pub max_connections: u32,
    /// The range of source ports for NAT, except the ports that the host itself uses. The agent
    /// reserves them, so the kernel does not use them. Default 1024-65535.
    pub source_ports: RangeInclusive<u16>,
    /// Additional source addresses of packets to backends, besides the service's own. Default none.
    pub source_addresses: Vec<Ipv4Addr>,
    /// Native or generic XDP. Default auto.
    pub xdp_mode: XdpModeChoice,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpModeChoice {
    /// Native if the driver of every interface supports it, otherwise generic on all of them.
    Auto,
    /// Native; the agent does not start if an interface's driver does not support it.
    Native,
    /// Generic on all interfaces.
    Generic,
}

/// `[http]`: limits of the HTTP front.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Number of worker threads. Default: one per core.
    pub workers: NonZeroUsize,
    /// Timeouts of services that do not set their own.
    pub timeouts: Timeouts,
    /// How long connections may last in a process after `lb upgrade` replaced it. Default 1 h.
    pub drain_timeout: Duration,
    /// Maximum length of the head of a request or response, in bytes. Default 16,384.
    pub max_header_bytes: usize,
    /// Maximum number of concurrent client connections. Default: 65,536.
    pub max_connections: Option<usize>,
    /// Maximum number of concurrent connections from one IPv4 address or one IPv6 /64; 0: no limit.
    /// Default 0.
    pub max_connections_per_client: usize,
    /// Maximum number of bytes of responses buffered for one client over HTTP/2. Default 1,048,576.
    pub connection_buffer_bytes: usize,
    /// Maximum number of bytes of responses buffered for all clients together. Default 268,435,456.
    pub buffer_bytes: usize,
    /// Maximum number of idle connections that one worker keeps to one backend. Default 64.
    pub idle_connections: usize,
    /// Proxies whose `X-Forwarded-*` headers are trusted and extended. Default none.
    pub trusted_proxies: Vec<IpAddr>,
}

/// A pool of backends that serve the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The pool's name, unique.
    pub name: Name,
    /// How a backend is chosen.
    pub balance: Balance,
    /// How backends are checked; `None`: they are not checked and count as up.
    pub check: Option<Check>,
    /// What happens to new connections while no backend is up. Default: all backends are tried.
    pub when_all_down: WhenAllDown,
    /// Maximum number of other backends that are tried after one that refused or did not answer, at
    /// most 3. Default 3.
    pub retries: u8,
    /// The keys that apply to single requests. Only the HTTP front uses them.
    pub per_request: PerRequest,
    /// The backends, at least one, names and addresses unique in the pool.
    pub backends: Vec<Backend>,
}

/// How a backend is chosen for a new connection or request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    /// The backends in turn, in proportion to their weights.
    RoundRobin,
    /// The backend with the fewest connections in proportion to its weight. HTTP front only.
    LeastConnections,
    /// The less loaded one of two random backends. HTTP front only.
    RandomTwo,
    /// By a hash of the client's address, so a client keeps its backend.
    Source,
    /// By Maglev hashing of the whole flow: both addresses and both ports.
    Maglev,
    /// The same backend for the same part of a request, which `hash_by` selects. HTTP front only.
    Hash,
}

/// What happens to new connections while no backend of a pool is up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenAllDown {
    /// New connections go to all backends of the pool, except backends that the operator drained or
    /// took down.
    #[default]
    TryAll,
    /// New connections are refused.
    Refuse,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The backend's name; its address if the file gives no name.
    pub name: Name,
    /// The backend's address and port.
    pub address: SocketAddr,
    /// The backend's share of the pool.
    pub weight: Weight,
    /// Whether the backend is used only while no other backend of its pool is up. HTTP front only.
    pub backup: bool,
}

/// A backend's share of its pool, 1 to 256.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The default weight.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// Makes a weight; `None` outside 1 to 256.
    #[must_use]
    pub fn new(weight: u16) -> Option<Self> {
        NonZeroU16::new(weight)
            .filter(|weight| weight.get() <= 256)
            .map(Self)
    }

    /// The weight as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// How the backends of a pool are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The kind of check.
    pub kind: CheckKind,
    /// Time from the start of one check to the start of the next. Default 2 s.
    pub interval: Duration,
    /// Maximum duration of a check; at most `interval`. Default 1 s.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up. Default 2.
    pub rise: u32,
    /// Failures in a row that take a backend down. Default 3.
    pub fall: u32,
}

/// The kind of check.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Opens a TCP connection.
    Tcp,
    /// Sends `GET path` and expects a status in the range.
    Http {
        /// The request target, begins with `/`. Default `/`.
        path: String,
        /// The Host header. Default: the backend's address.
        host: Option<String>,
        /// The statuses that mean healthy. Default 200 to 399.
        expect: RangeInclusive<u16>,
    },
}

/// A service: an address that clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The service's name, unique.
    pub name: Name,
    /// The address and port; unique.
    pub listen: SocketAddr,
    /// How the service is served.
    pub mode: Mode,
    /// The pool of the service; if it has routes, the pool of requests that no route matches.
    /// `None`: only routes name pools. Never `None` for a service of mode `tcp`.
    pub pool: Option<Arc<Pool>>,
    /// Routes and header edits. Empty for a service of mode `tcp`.
    pub routing: Arc<Routing>,
    /// Timeouts, for services of mode `http` and `https`.
    pub timeouts: Timeouts,
}

impl Service {
    /// Returns the certificate that the agent obtains for the service.
    #[must_use]
    pub fn obtained(&self) -> Option<&Obtained> {
        match &self.mode {
            Mode::Https { obtained, .. } => obtained.as_deref(),
            Mode::Tcp { .. } | Mode::Http => None,
        }
    }

    pub(super) fn obtained_mut(&mut self) -> Option<&mut Obtained> {
        match &mut self.mode {
            Mode::Https { obtained, .. } => obtained.as_deref_mut(),
            Mode::Tcp { .. } | Mode::Http => None,
        }
    }

    /// Returns the pools that the service uses, each once: its own first, then the pools of its
    /// routes, in their order.
    #[must_use]
    pub fn pools(&self) -> Vec<&Arc<Pool>> {
        let routed = self.routing.routes.iter().filter_map(Route::pool);
        let mut pools: Vec<&Arc<Pool>> = Vec::new();
        for pool in self.pool.iter().chain(routed) {
            if pools.iter().all(|other| other.name != pool.name) {
                pools.push(pool);
            }
        }
        pools
    }
}

/// How a service is served.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// TCP, steered in the kernel.
    Tcp {
        /// How packets reach the backends.
        forward: Forward,
    },
    /// HTTP without TLS, by the agent.
    Http,
    /// HTTPS, by the agent.
    Https {
        /// PEM files, each a certificate chain and its key; at least one, or `obtained`. The first
        /// serves clients that send no server name, or a name that no certificate has.
        certificates: Vec<PathBuf>,
        /// The certificate that the agent obtains.
        obtained: Option<Box<Obtained>>,
        /// TLS versions, cipher suites and client certificates.
        tls: Tls,
    },
}

/// How the kernel forwards a packet to a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forward {
    /// Rewrites both addresses: backends need no configuration.
    Nat,
    /// Rewrites the service's address only: backends see the client's address and must route their
    /// packets to clients through this host.
    Dnat,
}
