//! The parsed `[ha]`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    path::PathBuf,
    time::Duration,
};

use super::Name;

/// `[ha]`: high availability with a peer, over VRRP (RFC 9568).
#[derive(Clone, Debug, PartialEq)]
pub struct Ha {
    /// The peer's address; of the same family as `source`, and different from it.
    pub peer: IpAddr,
    /// The address of this host that adverts are sent from.
    pub source: IpAddr,
    /// The virtual router's number, the same on both hosts.
    pub virtual_router_id: NonZeroU8,
    /// The configured priority, 1 to 254: the host with the higher priority is active. Default 100.
    pub priority: NonZeroU8,
    /// Time from one advert to the next: whole centiseconds up to 40.95 s in version 3 of VRRP,
    /// whole seconds up to 255 s in version 2. Default 1 s.
    pub advert_interval: Duration,
    /// Whether this host takes over from a peer with a lower priority. Default true.
    pub preempt: bool,
    /// The version of VRRP. Default 3.
    pub version: VrrpVersion,
    /// The address that moves to the active host.
    pub moves: Moves,
    /// How long this host waits before it takes over from a peer with a lower priority. Default
    /// zero.
    pub preempt_delay: Duration,
    /// Whether adverts are sent by unicast or multicast. Default unicast.
    pub transport: Transport,
    /// How adverts are authenticated. Default: they are not.
    pub authentication: Authentication,
    /// Whether adverts from other addresses than [`Self::peer`] are refused. Default true.
    pub check_source: bool,
    /// Whether unicast adverts whose time to live is not 255 are refused. Default false.
    pub check_ttl: bool,
    /// Whether the checksum of version 3 over IPv4 omits the pseudo-header, as RFC 9568 specifies
    /// and keepalived does with `v3_checksum_as_v2`. Default false.
    pub checksum_without_pseudo_header: bool,
    /// The addresses that adverts carry. Default: the addresses of [`Moves::VirtualIp`], or none.
    pub advertised_addresses: Vec<IpAddr>,
    /// Maximum time that a hand-over waits for requests to end. Default 5 s.
    pub handover_timeout: Duration,
    /// Fewer healthy backends than this in a pool that a service uses lower the priority by
    /// [`Self::backends_weight`]. 0: backends do not affect the priority. Default 1.
    pub min_backends: u32,
    /// How much [`Self::min_backends`] lowers the priority: 1 to 253. Default 50.
    pub backends_weight: u8,
    /// The connection between the two agents; `None` with keepalived as the peer.
    pub link: Option<PeerLink>,
    /// `[[ha.track]]`: scripts that check the health of the host.
    pub track: Vec<TrackScript>,
    /// `[ha.notify]`: commands to run when the host's role changes.
    pub notify: Notify,
}

/// How adverts are sent.
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
    /// No authentication.
    None,
    /// Version 2's password: 1 to 8 bytes, sent in clear text. It protects against mistakes, not
    /// against attackers.
    Password(String),
    /// keepalived 2.4's HMAC-SHA256 with the key in this file.
    Hmac(PathBuf),
}

/// `[ha.link]`: the connection between the two agents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerLink {
    /// The secret that only the two hosts share: made by `lb peer init`, mode 0600.
    pub secret_file: PathBuf,
    /// The TCP port, the same on both hosts. Default 9146.
    pub port: u16,
    /// Whether the host with the newer version of a certificate file sends it, with its key, to the
    /// other host. Must be set on both hosts. Default false.
    pub share_certificates: bool,
}

/// `[[ha.track]]`: a script whose exit status tells whether the host is healthy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackScript {
    /// The script's name, unique.
    pub name: Name,
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// Time from the start of one run to the start of the next. Default 1 s.
    pub interval: Duration,
    /// Maximum duration of a run, at most `interval`; a longer run has failed. Default 1 s.
    pub timeout: Duration,
    /// Successes in a row after which the host is healthy. Default 2.
    pub rise: u32,
    /// Failures in a row after which the host is unhealthy. Default 2.
    pub fall: u32,
    /// The effect on the priority: with 0 (the default), a failing script puts the host in fault;
    /// -253 to -1 is added while the script fails, 1 to 253 while it succeeds.
    pub weight: i16,
}

/// `[ha.notify]`: commands (program and arguments, no shell) that are run with keepalived's
/// arguments appended: `INSTANCE`, the node's name, the state in capitals, the priority.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// Run when the host becomes active.
    pub master: Option<Vec<String>>,
    /// Run when the host becomes the standby.
    pub backup: Option<Vec<String>>,
    /// Run when the host enters the state `fault`.
    pub fault: Option<Vec<String>>,
    /// Run when the agent stops.
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

/// The address that moves to the active host.
#[derive(Clone, Debug, PartialEq)]
pub enum Moves {
    /// `[ha.elastic_ip]`: an Elastic IP, moved by the EC2 API.
    ElasticIp(ElasticIp),
    /// `[ha.virtual_ip]`: addresses on the operator's own network, moved by gratuitous ARP; at
    /// least one, of the family of [`Ha::source`]. Adverts carry them.
    VirtualIp(Vec<InterfaceAddress>),
    /// The commands of `[ha.notify]` move the address.
    Commands,
}

/// An Elastic IP that moves to the active host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ElasticIp {
    /// The allocation ID: `eipalloc-` and 8 or 17 hexadecimal digits.
    pub allocation_id: String,
    /// The AWS region of the Elastic IP, such as `me-central-1`. `None`: from the instance metadata
    /// service.
    pub region: Option<String>,
    /// The ID of this host's network interface: `eni-` and 8 or 17 hexadecimal digits. `None`: from
    /// the instance metadata service.
    pub network_interface_id: Option<String>,
    /// The private address that the Elastic IP is associated with. `None`: from the instance
    /// metadata service.
    pub private_ip: Option<Ipv4Addr>,
    /// The URL of the EC2 API. `None`: the endpoint of the region.
    pub endpoint: Option<String>,
    /// Whether `private_ip` is a secondary private address that moves to this host's interface
    /// together with the Elastic IP, so that established connections survive. Default false.
    pub moves_private_ip: bool,
}

/// An address of an interface, with the prefix length of its network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// The prefix length: 1 to 32 for IPv4, 1 to 128 for IPv6.
    pub prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
