//! Why a received packet is refused.

use std::{fmt, net::IpAddr, num::NonZeroU8};

use super::{Cast, Interval, TTL, Version};

/// Why a packet was refused: a sentence for the log, and a word for the metric's label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The IPv4 header is invalid, or not that of a complete VRRP packet.
    IpHeader,
    /// The packet's source is this host's address: looped multicast, or a forged source.
    Own,
    /// The packet's source is not the peer.
    Source {
        /// The packet's source address.
        found: IpAddr,
    },
    /// The packet is unicast where multicast is expected, or the reverse.
    Destination {
        /// The packet's destination address.
        found: IpAddr,
        /// Whether this host expects unicast or multicast.
        expected: Cast,
    },
    /// The packet has crossed a router: its TTL, or hop limit, is not 255.
    Ttl {
        /// The packet's TTL, or hop limit.
        found: u8,
    },
    /// The packet is shorter than any advert.
    TooShort {
        /// The packet's length in bytes.
        length: usize,
    },
    /// The packet is of another version of VRRP.
    Version {
        /// The packet's version of VRRP.
        found: u8,
        /// This host's version of VRRP.
        expected: Version,
    },
    /// The packet's type is not that of an advert, the only type in VRRP.
    Type {
        /// The packet's type.
        found: u8,
    },
    /// The packet's length is not what its count of addresses makes it.
    Length {
        /// The packet's length in bytes.
        found: usize,
        /// The length in bytes that a packet with this count of addresses has.
        expected: usize,
    },
    /// The packet's checksum is wrong.
    Checksum {
        /// Whether the checksum is right under the rule that this host does not use: with the
        /// pseudo-header where this host excludes it, and the reverse.
        other_rule: bool,
    },
    /// The packet is of another virtual router.
    RouterId {
        /// Number of the packet's virtual router.
        found: u8,
        /// Number of this host's virtual router.
        expected: NonZeroU8,
    },
    /// The packet is authenticated in another way than this host's adverts are.
    AuthenticationType {
        /// The number of the packet's authentication in RFC 2338: 0 is no authentication, 1 a
        /// password, 2 IPsec's authentication header.
        found: u8,
        /// The number of this host's authentication in RFC 2338.
        expected: u8,
    },
    /// The packet's password differs from the one that is configured here.
    Password,
    /// The packet has no HMAC, and a key is configured here.
    Unsigned,
    /// The packet has an HMAC, and no key is configured here.
    Signed,
    /// The packet's trailer has an unknown format.
    Trailer,
    /// The packet's trailer names a key that is not configured here.
    Key {
        /// The number of the key that the trailer names.
        id: u8,
    },
    /// The packet's HMAC is wrong: it was made with another key, or is a forgery.
    Hmac,
    /// The time in the packet's trailer is too far from this host's clock.
    Stale {
        /// Seconds by which the packet's time is behind this host's clock; negative if it is ahead.
        late: i32,
    },
    /// The packet, or a later advert of its sender, was received before; or it is a goodbye that
    /// this host may have received before it restarted.
    Replayed,
    /// The packet's interval is zero, or (in version 2) differs from this host's.
    Interval {
        /// The packet's interval; `None` if it is zero.
        found: Option<Interval>,
        /// This host's interval.
        expected: Interval,
    },
    /// The packet has another number of addresses than are configured here.
    AddressCount {
        /// Number of addresses in the packet.
        found: usize,
        /// Number of addresses that are configured here.
        expected: usize,
    },
    /// The packet has other addresses than are configured here.
    Addresses {
        /// An address that is configured here and missing in the packet.
        missing: IpAddr,
    },
}

impl Refusal {
    /// Every word that [`Refusal::word`] returns, in the order in which a packet is checked.
    pub const WORDS: [&str; 22] = [
        "ip_header",
        "own",
        "source",
        "destination",
        "ttl",
        "too_short",
        "version",
        "type",
        "length",
        "checksum",
        "router_id",
        "authentication_type",
        "password",
        "unsigned",
        "signed",
        "trailer",
        "key",
        "hmac",
        "stale",
        "replayed",
        "interval",
        "addresses",
    ];

    /// Returns one word for the refusal: the label `reason` of the metric that counts refused
    /// packets.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::IpHeader => "ip_header",
            Self::Own => "own",
            Self::Source { .. } => "source",
            Self::Destination { .. } => "destination",
            Self::Ttl { .. } => "ttl",
            Self::TooShort { .. } => "too_short",
            Self::Version { .. } => "version",
            Self::Type { .. } => "type",
            Self::Length { .. } => "length",
            Self::Checksum { .. } => "checksum",
            Self::RouterId { .. } => "router_id",
            Self::AuthenticationType { .. } => "authentication_type",
            Self::Password => "password",
            Self::Unsigned => "unsigned",
            Self::Signed => "signed",
            Self::Trailer => "trailer",
            Self::Key { .. } => "key",
            Self::Hmac => "hmac",
            Self::Stale { .. } => "stale",
            Self::Replayed => "replayed",
            Self::Interval { .. } => "interval",
            Self::AddressCount { .. } | Self::Addresses { .. } => "addresses",
        }
    }

    /// Whether packets that are refused for this reason are normal on a network with several
    /// virtual routers, and not worth a log line.
    #[must_use]
    pub fn is_everyday(&self) -> bool {
        matches!(self, Self::Own | Self::RouterId { .. })
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IpHeader => f.write_str("its IPv4 header is malformed"),
            Self::Own => f.write_str("it comes from this host's own address"),
            Self::Source { found } => write!(
                f,
                "{found} is not the peer: correct `peer`, or set `check_source = false` to accept adverts from any address"
            ),
            Self::Destination { found, expected } => write!(
                f,
                "it was sent to {found}, but `transport` is {expected} here: both hosts need the same"
            ),
            Self::Ttl { found } => write!(
                f,
                "its time to live is {found}, not {TTL}: it was sent from beyond a router"
            ),
            Self::TooShort { length } => write!(f, "it is too short: {length} of at least 8 bytes"),
            Self::Version { found, expected } => write!(
                f,
                "it is of version {found}, this host uses {expected}: set `version` to the same on both hosts"
            ),
            Self::Type { found } => write!(f, "its type is {found}; an advert has type 1"),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes, but its header implies {expected}")
            }
            Self::Checksum { other_rule: true } => f.write_str(
                "its checksum follows the other rule for the pseudo-header: \
                 set `checksum_without_pseudo_header` to what the peer does",
            ),
            Self::Checksum { other_rule: false } => f.write_str("its checksum is wrong"),
            Self::RouterId { found, expected } => {
                write!(f, "it is for virtual router {found}, not {expected}")
            }
            Self::AuthenticationType { found, expected } => write!(
                f,
                "it is authenticated {}, this host's adverts {}: both hosts need the same",
                authentication(found),
                authentication(expected),
            ),
            Self::Password => f.write_str("its password differs from this host's"),
            Self::Unsigned => f.write_str("it has no HMAC, and a key is configured here"),
            Self::Signed => f.write_str("it has an HMAC, and no key is configured here"),
            Self::Trailer => f.write_str("its HMAC has a format that lb does not support"),
            Self::Key { id } => write!(
                f,
                "it is signed with key {id}, which is not in the key file"
            ),
            Self::Hmac => f.write_str("its HMAC is wrong: another key, or a forgery"),
            Self::Stale { late } => write!(
                f,
                "its time is {} s {} this host's clock: a replay, or one of the clocks is wrong",
                late.unsigned_abs(),
                if late < 0 { "ahead of" } else { "behind" },
            ),
            Self::Replayed => f.write_str(
                "it was received before, or may have been before this host restarted: a replay",
            ),
            Self::Interval {
                found: None,
                expected,
            } => write!(f, "its interval is 0, this host's is {expected}"),
            Self::Interval {
                found: Some(found),
                expected,
            } => write!(
                f,
                "its interval is {found}, this host's is {expected}: version 2 requires the same on both hosts"
            ),
            Self::AddressCount { found, expected } => write!(
                f,
                "it is for {found} addresses, this host's adverts for {expected}: both hosts need the same ones"
            ),
            Self::Addresses { missing } => write!(
                f,
                "it is not for {missing}, which is configured here: both hosts need the same addresses"
            ),
        }
    }
}

fn authentication(number: u8) -> &'static str {
    match number {
        0 => "not at all",
        1 => "by a password",
        2 => "by the IPsec header",
        _ => "in an unknown way",
    }
}
