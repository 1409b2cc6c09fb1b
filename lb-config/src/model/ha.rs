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
    /// The version of VRRP that adverts have. Default 3.
    pub version: VrrpVersion,
    /// The address that moves to the active host, and what moves it.
    pub moves: Moves,
    /// How long this host hears a peer with a lower priority before it takes over from it. Default
    /// zero.
    pub preempt_delay: Duration,
    /// Whether adverts are sent by unicast or multicast. Default unicast.
    pub transport: Transport,
    /// How adverts are authenticated. Default: without authentication.
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
    /// Maximum time for which a hand-over of the active role to the peer waits for requests to end.
    /// Default 5 s.
    pub handover_timeout: Duration,
    /// Minimum number of healthy backends in each pool that a service uses: with fewer, the
    /// priority is lower by [`Self::backends_weight`]. With 0, backends do not affect the priority.
    /// Default 1.
    pub min_backends: u32,
    /// By how much too few healthy backends lower the priority: 1 to 253. Default 50.
    pub backends_weight: u8,
    /// The connection between the two agents; `None` with keepalived as the peer.
    pub link: Option<PeerLink>,
    /// `[[ha.track]]`: scripts that check the health of the host.
    pub track: Vec<TrackScript>,
    /// `[ha.notify]`: commands to run when the host's role changes.
    pub notify: Notify,
}

/// Whether adverts are sent by unicast or multicast.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Adverts are sent to the peer's address.
    Unicast,
    /// Adverts are sent to 224.0.0.18 or ff02::12, out of the node's first interface.
    Multicast,
}

/// How adverts are authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Adverts are not authenticated.
    None,
    /// Adverts carry version 2's password, 1 to 8 bytes, in clear text: it protects against
    /// mistakes, not against attackers.
    Password(String),
    /// Adverts carry keepalived 2.4's HMAC-SHA256, with the key in this file.
    Hmac(PathBuf),
}

/// `[ha.link]`: the connection between the two agents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerLink {
    /// The secret that only the two hosts share: made by `lb peer init`, mode 0600.
    pub secret_file: PathBuf,
    /// The TCP port of the connection between the two agents, the same on both hosts. Default 9146.
    pub port: u16,
    /// Whether the host with the newer version of a certificate file sends it, with its key, to the
    /// other host, if this is set on both hosts. Default false.
    pub share_certificates: bool,
}

/// `[[ha.track]]`: a script whose exit status tells whether the host is healthy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrackScript {
    /// The script's name, unique among scripts.
    pub name: Name,
    /// The script's program and its arguments, which no shell splits.
    pub command: Vec<String>,
    /// Time from the start of one run of the script to the start of the next. Default 1 s.
    pub interval: Duration,
    /// Maximum duration of a run, at most `interval`; a run that takes longer has failed. Default 1
    /// s.
    pub timeout: Duration,
    /// Number of successful runs in a row after which the host is healthy. Default 2.
    pub rise: u32,
    /// Number of failed runs in a row after which the host is unhealthy. Default 2.
    pub fall: u32,
    /// The script's effect on the priority: with 0 (the default), a failing script puts the host in
    /// the state `fault`; -253 to -1 is added while the script fails, 1 to 253 while it succeeds.
    pub weight: i16,
}

/// `[ha.notify]`: commands (program and arguments, no shell) that are run with keepalived's
/// arguments appended: `INSTANCE`, the node's name, the state in capitals, the priority.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// The command to run when the host becomes active; `None` for no command.
    pub master: Option<Vec<String>>,
    /// The command to run when the host becomes the standby; `None` for no command.
    pub backup: Option<Vec<String>>,
    /// The command to run when the host enters the state `fault`; `None` for no command.
    pub fault: Option<Vec<String>>,
    /// The command to run when the agent stops; `None` for no command.
    pub stop: Option<Vec<String>>,
}

/// The version of VRRP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VrrpVersion {
    /// Version 2 (RFC 3768): intervals of whole seconds, IPv4 only.
    V2,
    /// Version 3 (RFC 9568).
    V3,
}

/// The address that moves to the active host, and what moves it.
#[derive(Clone, Debug, PartialEq)]
pub enum Moves {
    /// `[ha.elastic_ip]`: an Elastic IP, which the EC2 API moves.
    ElasticIp(ElasticIp),
    /// `[ha.virtual_ip]`: addresses on the operator's own network, moved by gratuitous ARP; at
    /// least one, of the family of [`Ha::source`]. Adverts carry them.
    VirtualIp(Vec<InterfaceAddress>),
    /// An address that the commands of `[ha.notify]` move.
    Commands,
}

/// An Elastic IP that moves to the active host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ElasticIp {
    /// The Elastic IP's allocation ID: `eipalloc-` and 8 or 17 hexadecimal digits.
    pub allocation_id: String,
    /// The AWS region of the Elastic IP, such as `me-central-1`; `None` if the agent is to ask the
    /// instance metadata service.
    pub region: Option<String>,
    /// The ID of this host's network interface: `eni-` and 8 or 17 hexadecimal digits; `None` if
    /// the agent is to ask the instance metadata service.
    pub network_interface_id: Option<String>,
    /// The private address of this host with which the Elastic IP is associated; `None` if the
    /// agent is to ask the instance metadata service.
    pub private_ip: Option<Ipv4Addr>,
    /// The URL of the EC2 API; `None` for the endpoint of the region.
    pub endpoint: Option<String>,
    /// Whether `private_ip` is a secondary private address that moves to this host's interface
    /// together with the Elastic IP, so that established connections survive. Default false.
    pub moves_private_ip: bool,
}

/// An address of an interface, with the prefix length of its network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InterfaceAddress {
    /// The address of the interface.
    pub address: IpAddr,
    /// The prefix length of the address's network: 1 to 32 for IPv4, 1 to 128 for IPv6.
    pub prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
