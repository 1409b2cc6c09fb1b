//! The parsed configuration: every value is valid, every reference resolved.

mod acme;
mod discover;
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
    discover::{AddressFamily, Discover, DiscoverySource, InstanceFilter},
    ha::{
        Authentication, ElasticIp, Ha, InterfaceAddress, Moves, Notify, PeerLink, TrackScript,
        Transport, VrrpVersion,
    },
    interfaces::Interfaces,
    log::{AccessField, AccessFormat, AccessLog, FormatPart, LineFormat, Log, LogTarget},
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
    /// `[node]`: this host.
    pub node: Node,
    /// `[admin]`: the listeners for the operator and Prometheus.
    pub admin: Admin,
    /// `[dataplane]`: the packet path.
    pub dataplane: Dataplane,
    /// `[http]`: limits of the HTTP front, for all its services.
    pub http: Http,
    /// `[log]`: the agent's log, the access log, and the requests kept for `lb errors`.
    pub log: Log,
    /// `[acme]`: how certificates are obtained; `None` if the agent obtains none, so all
    /// certificates are files of the operator.
    pub acme: Option<Acme>,
    /// `[[pool]]`: the pools, in the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// `[[service]]`: the services, in the order of the file.
    pub services: Vec<Service>,
    /// `[ha]`: high availability with a peer; `None` if this host has no peer.
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

    /// Returns the name of a backend without a configured name: its address and port.
    #[must_use]
    pub fn of_address(address: SocketAddr) -> Self {
        Self(address.to_string().into())
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
    /// HTTP or HTTPS: `/metrics`, `/healthz`, the status page at `/`, the JSON status.
    pub listen: SocketAddr,
    /// The PEM file with the certificate chain and the key of `listen`; `None`: plain HTTP.
    pub certificate: Option<PathBuf>,
    /// The file with the operator token; `None`: no token allows changes from the status page.
    pub token_file: Option<PathBuf>,
    /// The authorities of the client certificates of operators; `None`: clients are not asked for a
    /// certificate. Only together with `certificate`.
    pub client_authorities: Option<ClientAuthorities>,
    /// The Unix socket that `lb status`, `lb backend …`, `lb failover` and `lb reload` connect to,
    /// with mode 0600. Default `/run/lb/lb.sock`.
    pub socket: PathBuf,
}

impl Admin {
    /// Returns the files with the authorities of operators; empty if clients are not asked for a
    /// certificate.
    #[must_use]
    pub fn authorities(&self) -> &[PathBuf] {
        self.client_authorities
            .as_ref()
            .map_or(&[], |clients| &clients.authorities)
    }

    /// Returns the files with revocation lists of the certificates of operators.
    #[must_use]
    pub fn revocations(&self) -> &[PathBuf] {
        self.client_authorities
            .as_ref()
            .map_or(&[], |clients| &clients.revocations)
    }
}

/// `[dataplane]`: the packet path in the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataplane {
    /// The folder of the pinned maps, program and links. Default `/sys/fs/bpf/lb`.
    pub pin_path: PathBuf,
    /// Maximum number of connections that the kernel tracks. Default 250,000.
    pub max_connections: u32,
    /// The range of source ports for NAT, except the ports that the host itself uses. The agent
    /// reserves the ports of the range, so the kernel does not give them out. Default 1024-65535.
    pub source_ports: RangeInclusive<u16>,
    /// Additional source addresses of packets to backends, besides the service's own. Default none.
    pub source_addresses: Vec<Ipv4Addr>,
    /// Whether XDP is attached in native or in generic mode. Default auto.
    pub xdp_mode: XdpModeChoice,
}

/// In which mode the XDP program is attached to interfaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpModeChoice {
    /// Native if the driver of every interface supports that, otherwise generic on all interfaces.
    Auto,
    /// Native on all interfaces; the agent does not start if an interface's driver does not support
    /// it.
    Native,
    /// Generic on all interfaces, whatever their drivers support.
    Generic,
}

/// `[http]`: limits of the HTTP front.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Number of the front's worker threads. Default: one per core.
    pub workers: NonZeroUsize,
    /// Timeouts of services that do not set their own.
    pub timeouts: Timeouts,
    /// How long connections may last in a process after `lb upgrade` replaced it. Default 1 h.
    pub drain_timeout: Duration,
    /// Maximum length of the head of a request or response, in bytes. Default 16,384.
    pub max_header_bytes: usize,
    /// Maximum number of concurrent client connections; `None` if the file does not set it, for the
    /// default of 65,536.
    pub max_connections: Option<usize>,
    /// Maximum number of concurrent connections from one IPv4 address or one IPv6 /64; 0 for no
    /// limit. Default 0.
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
    /// The pool's name, unique among pools.
    pub name: Name,
    /// How a backend of the pool is chosen.
    pub balance: Balance,
    /// How the health of the pool's backends is checked; `None` if it is not checked and they count
    /// as up.
    pub check: Option<Check>,
    /// What happens to new connections while no backend of the pool is up. Default: all backends
    /// are tried.
    pub when_all_down: WhenAllDown,
    /// Maximum number of other backends that are tried after a backend that refused or did not
    /// answer, at most 3. Default 3.
    pub retries: u8,
    /// The keys of the pool that apply to single requests. Only the HTTP front uses them.
    pub per_request: PerRequest,
    /// The pool's backends; names and addresses are unique in the pool. At least one, unless they
    /// are discovered: then none until some were found.
    pub backends: Vec<Backend>,
    /// Where the pool's backends are found while the agent runs; `None` if the file lists them.
    pub discover: Option<Discover>,
}

impl Pool {
    /// Returns whether the pool has a backend with this address and port.
    #[must_use]
    pub fn has_backend_at(&self, address: SocketAddr) -> bool {
        self.backends
            .iter()
            .any(|backend| backend.address == address)
    }
}

/// How a backend is chosen for a new connection or request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    /// The pool's backends in turn, in proportion to their weights.
    RoundRobin,
    /// The backend with the fewest connections in proportion to its weight. HTTP front only.
    LeastConnections,
    /// Of two random backends, the one with fewer requests in flight in proportion to its weight.
    /// HTTP front only.
    RandomTwo,
    /// The backend given by a hash of the client's address, so a client keeps its backend.
    Source,
    /// The backend given by Maglev hashing of the whole flow: both addresses and both ports.
    Maglev,
    /// The backend given by a hash of a part of the request, which `hash_by` selects. HTTP front
    /// only.
    Hash,
}

/// What happens to new connections while no backend of a pool is up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenAllDown {
    /// New connections go to all backends of the pool, except backends that the operator drained or
    /// took down.
    #[default]
    TryAll,
    /// New connections are refused while no backend is up.
    Refuse,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The backend's name; its address and port if the file gives no name.
    pub name: Name,
    /// The backend's address and port.
    pub address: SocketAddr,
    /// The backend's share of the pool's connections or requests.
    pub weight: Weight,
    /// Whether the backend is used only while no other backend of its pool is up. HTTP front only.
    pub backup: bool,
    /// Whether the source that the backend was discovered by no longer has it: the backend gets no
    /// new connections, and leaves the pool when the pool's drain time has passed.
    pub leaving: bool,
}

/// A backend's weight: its share in relation to other backends of the pool, 1 to 256.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The weight of a backend whose weight the file does not give.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// Makes a weight; `None` if the number is not 1 to 256.
    #[must_use]
    pub fn new(weight: u16) -> Option<Self> {
        NonZeroU16::new(weight)
            .filter(|weight| weight.get() <= 256)
            .map(Self)
    }

    /// Returns the weight as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// How the health of a pool's backends is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What a health check does: a TCP connection, or an HTTP request.
    pub kind: CheckKind,
    /// Time from the start of one health check of a backend to the start of the next. Default 2 s.
    pub interval: Duration,
    /// Maximum duration of one health check; at most `interval`. Default 1 s.
    pub timeout: Duration,
    /// Number of successful health checks in a row after which a backend is up. Default 2.
    pub rise: u32,
    /// Number of failed health checks in a row after which a backend is down. Default 3.
    pub fall: u32,
}

/// What a health check does.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// The check opens a TCP connection to the backend.
    Tcp,
    /// The check sends `GET path` to the backend and expects a status in a range.
    Http {
        /// The target of the check's request; begins with `/`. Default `/`.
        path: String,
        /// The Host header of the check's request; `None` for the backend's address.
        host: Option<String>,
        /// The range of statuses that mean healthy. Default 200 to 399.
        expect: RangeInclusive<u16>,
    },
}

/// A service: an address that clients connect to, and what happens to their connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The service's name, unique among services.
    pub name: Name,
    /// The address and port that clients connect to; no other service has the same.
    pub listen: SocketAddr,
    /// How the service is served: in the kernel, or by the agent as HTTP or HTTPS.
    pub mode: Mode,
    /// The pool of the service; if it has routes, the pool of requests that no route matches.
    /// `None` if only routes name pools. Never `None` for a service of mode `tcp`.
    pub pool: Option<Arc<Pool>>,
    /// Routes and header edits of the service. Empty for a service of mode `tcp`.
    pub routing: Arc<Routing>,
    /// Timeouts of the service, if its mode is `http` or `https`.
    pub timeouts: Timeouts,
}

impl Service {
    /// Returns the certificate files that the configuration names for the service, without the file
    /// of the certificate that the agent obtains; empty unless the mode is `https`.
    #[must_use]
    pub fn certificates(&self) -> &[PathBuf] {
        match &self.mode {
            Mode::Https { certificates, .. } => certificates,
            Mode::Tcp { .. } | Mode::Http => &[],
        }
    }

    /// Returns the certificate that the agent obtains for the service; `None` if it obtains none.
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

    /// Returns the pools that the service uses, each of them once: the service's pool first, then
    /// the pools of its routes, in the order of the routes.
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

/// How the connections of a service are served.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// TCP connections, steered in the kernel.
    Tcp {
        /// Which addresses of a packet to a backend are rewritten.
        forward: Forward,
    },
    /// HTTP without TLS, served by the agent.
    Http,
    /// HTTPS, served by the agent.
    Https {
        /// PEM files, each with a certificate chain and its key; at least one unless `obtained` is
        /// set. The first serves clients that send no server name, or a name that no certificate
        /// has.
        certificates: Vec<PathBuf>,
        /// The certificate that the agent obtains for the service; `None` if it obtains none.
        obtained: Option<Box<Obtained>>,
        /// The service's settings of TLS: versions, cipher suites and client certificates.
        tls: Tls,
    },
}

/// How the kernel forwards a packet to a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forward {
    /// Rewrites source and destination address: backends need no configuration.
    Nat,
    /// Rewrites the service's address only: backends see the client's address and must route their
    /// packets to clients through this host.
    Dnat,
}
