//! What a configuration is once it has been parsed: every value valid, every reference resolved.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU8, NonZeroU16, NonZeroUsize},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// A whole configuration. Every value is valid and every reference resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This host.
    pub node: Node,
    /// Where the operator and Prometheus reach the agent.
    pub admin: Admin,
    /// The packet path.
    pub dataplane: Dataplane,
    /// Limits of the HTTP front, for all its services.
    pub http: Http,
    /// The pools, in the order of the file.
    pub pools: Vec<Arc<Pool>>,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// High availability with a peer; `None`: this host is alone.
    pub ha: Option<Ha>,
}

/// The name of a node, service, pool or backend: 1 to 63 of `a-z A-Z 0-9 . _ -` and, for backends
/// that were given as a bare address, `:` and brackets.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

impl Name {
    /// Parses a name; `None` when it is empty, longer than 63 bytes or has other characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'[' | b']')
        };
        ((1..=63).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// The name as text.
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
    /// The name that this host goes by in status and logs.
    pub name: Name,
    /// The network interface that the XDP program is attached to, at most 15 bytes.
    pub interface: String,
}

/// `[admin]`: where the operator and Prometheus reach the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// HTTP: `/metrics`, `/healthz`, `/`, the JSON status. Reading only.
    pub listen: SocketAddr,
    /// The Unix socket of `lb status`, `lb backend …`, `lb failover`, `lb reload`: mode 0600.
    /// Default `/run/lb/lb.sock`.
    pub socket: PathBuf,
}

/// `[dataplane]`: the packet path.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataplane {
    /// Where maps, program and link are pinned. Default `/sys/fs/bpf/lb`.
    pub pin_path: PathBuf,
    /// Entries of the flow table; a connection takes two. Default 1,048,576.
    pub max_flows: u32,
    /// Source ports of NAT, reserved from the kernel's own. Default 10240-32767.
    pub source_ports: RangeInclusive<u16>,
    /// Native or generic XDP. Default auto.
    pub xdp_mode: XdpModeChoice,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpModeChoice {
    /// Native where the driver has it, generic where it does not.
    Auto,
    /// Native, or refuse to start.
    Native,
    /// Generic.
    Generic,
}

/// `[http]`: limits of the HTTP front.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Worker threads. Default: one a core.
    pub workers: NonZeroUsize,
    /// From the first byte of a request to the end of its head, TLS handshake apart. Default 10 s.
    pub header_timeout: Duration,
    /// The longest pause within a request's body. Default 30 s.
    pub body_timeout: Duration,
    /// The longest pause between two requests. Default 60 s.
    pub idle_timeout: Duration,
    /// A TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Connecting to a backend. Default 2 s.
    pub connect_timeout: Duration,
    /// From a request sent to the head of its response, and the longest pause within its body.
    /// Default 60 s.
    pub response_timeout: Duration,
    /// Bytes of a request's or response's head. Default 16384.
    pub max_header_bytes: usize,
    /// Idle connections kept to one backend by one worker. Default 64.
    pub idle_connections: usize,
    /// Proxies whose `X-Forwarded-*` headers are believed and extended. Default none.
    pub trusted_proxies: Vec<IpAddr>,
}

/// A pool of backends that serve the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The pool's name, unique.
    pub name: Name,
    /// How a backend is chosen.
    pub balance: Balance,
    /// How backends are checked; `None`: always up.
    pub check: Option<Check>,
    /// The backends, at least one, names and addresses unique in the pool.
    pub backends: Vec<Backend>,
}

/// How a backend is chosen for a new connection or request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    /// Each in turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight. HTTP front only.
    LeastConnections,
    /// Two at random, the less loaded of them. HTTP front only.
    RandomTwo,
    /// The same client address, the same backend.
    Source,
    /// Maglev over the whole flow.
    Maglev,
}

/// One backend of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The backend's name; its address where the file gives no name.
    pub name: Name,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share.
    pub weight: Weight,
}

/// A backend's share of its pool, 1 to 256.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The share of a backend that has none configured.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// `None` outside 1 to 256.
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
    /// What a check does.
    pub kind: CheckKind,
    /// From the start of one check to the start of the next. Default 2 s.
    pub interval: Duration,
    /// After this a check has failed; at most `interval`. Default 1 s.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up. Default 2.
    pub rise: u32,
    /// Failures in a row that take it down. Default 3.
    pub fall: u32,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Connects.
    Tcp,
    /// Sends `GET path` and wants a status in the range.
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
    /// Who serves it, and how.
    pub mode: Mode,
    /// Its backends.
    pub pool: Arc<Pool>,
}

/// Who serves a service, and how.
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
        /// PEM files, each a certificate chain and its key; at least one. The first is the one for
        /// clients that send no name, or one that no certificate has.
        certificates: Vec<PathBuf>,
    },
}

/// How the kernel forwards a packet to a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forward {
    /// Rewrites both addresses: backends need nothing.
    Nat,
}

/// `[ha]`: high availability with a peer, over VRRP (RFC 9568) in unicast.
#[derive(Clone, Debug, PartialEq)]
pub struct Ha {
    /// The peer's address; of the same family as `source`, and another.
    pub peer: IpAddr,
    /// The address of this host that adverts are sent from.
    pub source: IpAddr,
    /// The virtual router's number, the same on both hosts.
    pub virtual_router_id: NonZeroU8,
    /// 1 to 254; the host with the higher one is active. Default 100.
    pub priority: NonZeroU8,
    /// From one advert to the next: whole centiseconds to 40.95 s in version 3, whole seconds to
    /// 255 s in version 2. Default 1 s.
    pub advert_interval: Duration,
    /// Whether this host takes over from a peer with a lower priority. Default true.
    pub preempt: bool,
    /// What the peer speaks. Default version 3.
    pub version: VrrpVersion,
    /// What moves to the host that is active.
    pub moves: Moves,
    /// How long a host that could take over from a peer with a lower priority waits before it
    /// does. Default zero.
    pub preempt_delay: Duration,
    /// How adverts travel. Default unicast.
    pub transport: Transport,
    /// How adverts are authenticated. Default not at all.
    pub authentication: Authentication,
    /// Whether adverts from other addresses than [`Self::peer`] are refused. Default true.
    pub check_source: bool,
    /// Whether the checksum of version 3 over IPv4 leaves the pseudo-header out, as RFC 9568 has it
    /// and keepalived does with `v3_checksum_as_v2`. Default false.
    pub checksum_without_pseudo_header: bool,
    /// The addresses that adverts carry. Default those of [`Moves::VirtualIp`], otherwise none.
    pub advertised_addresses: Vec<IpAddr>,
    /// How long requests may take to end when the host hands over. Default 5 s.
    pub handover_timeout: Duration,
    /// Fewer healthy backends than this in any pool that a service uses lower the priority by
    /// [`Self::backends_weight`]. 0: they do not matter. Default 1.
    pub min_backends: u32,
    /// 1 to 253. Default 50.
    pub backends_weight: u8,
    /// The connection between the two agents. `None`: there is none, as with keepalived for a peer.
    pub link: Option<PeerLink>,
    /// `[[ha.track]]`: scripts that say whether the host is well.
    pub track: Vec<TrackScript>,
    /// `[ha.notify]`: commands to run when the host's role changes.
    pub notify: Notify,
}

/// How adverts travel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// To the peer's address.
    Unicast,
    /// To 224.0.0.18 or ff02::12, out of the node's interface.
    Multicast,
}

/// How adverts are authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// Version 2's password: 1 to 8 bytes, sent in clear. It guards against mistakes, not people.
    Password(String),
    /// keepalived 2.4's HMAC-SHA256 with the key in this file.
    Hmac(PathBuf),
}

/// `[ha.link]`: the connection between the two agents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerLink {
    /// What both hosts have and nobody else: made by `lb peer init`, mode 0600.
    pub secret_file: PathBuf,
    /// The TCP port, the same on both hosts. Default 9146.
    pub port: u16,
    /// Whether the host with the newer certificate in a file gives it, with its key, to the other
    /// one. Both hosts must say so. Default false.
    pub share_certificates: bool,
}

/// `[[ha.track]]`: a script that says by its exit status whether the host is well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackScript {
    /// Its name, unique.
    pub name: Name,
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// From the start of one run to the start of the next. Default 1 s.
    pub interval: Duration,
    /// A run that takes longer has failed; at most `interval`. Default 1 s.
    pub timeout: Duration,
    /// Successes in a row that mean well. Default 2.
    pub rise: u32,
    /// Failures in a row that mean not well. Default 2.
    pub fall: u32,
    /// What failing does: 0 (the default) is a fault; -253 to -1 is added to the priority. 1 to 253
    /// is added while it succeeds.
    pub weight: i16,
}

/// `[ha.notify]`: commands (program and arguments, no shell) that are run with keepalived's
/// arguments appended: `INSTANCE`, the node's name, the state in capitals, the priority.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// On becoming active.
    pub master: Option<Vec<String>>,
    /// On becoming the standby.
    pub backup: Option<Vec<String>>,
    /// On a fault.
    pub fault: Option<Vec<String>>,
    /// On the end of the agent.
    pub stop: Option<Vec<String>>,
}

/// The version of VRRP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VrrpVersion {
    /// RFC 3768: whole seconds, IPv4 only.
    V2,
    /// RFC 9568.
    V3,
}

/// What moves to the host that is active.
#[derive(Clone, Debug, PartialEq)]
pub enum Moves {
    /// `[ha.elastic_ip]`: an Elastic IP, by the EC2 API.
    ElasticIp(ElasticIp),
    /// `[ha.virtual_ip]`: addresses of a network of one's own, by gratuitous ARP; at least one, of
    /// the family of [`Ha::source`]. The adverts carry them.
    VirtualIp(Vec<InterfaceAddress>),
    /// Nothing of the agent's: the commands of `[ha.notify]` do it.
    Commands,
}

/// An Elastic IP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ElasticIp {
    /// `eipalloc-` and 8 or 17 hexadecimal digits.
    pub allocation_id: String,
    /// The region that it belongs to, such as `me-central-1`. `None`: asked of the instance metadata
    /// service.
    pub region: Option<String>,
    /// `eni-` and 8 or 17 hexadecimal digits. `None`: asked of the instance metadata service.
    pub network_interface_id: Option<String>,
    /// The private address that it is associated with. `None`: asked of the metadata service.
    pub private_ip: Option<Ipv4Addr>,
    /// The URL of the EC2 API. `None`: the region's own.
    pub endpoint: Option<String>,
    /// Whether `private_ip` is a secondary private address that moves to this host's interface
    /// together with the Elastic IP, so that established connections survive. Default false.
    pub moves_private_ip: bool,
}

/// An address of an interface, with the length of its network's prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// 1 to 32 for IPv4, 1 to 128 for IPv6.
    pub prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
