//! Why a packet is refused.

use std::{fmt, net::IpAddr, num::NonZeroU8};

use super::{Cast, Interval, TTL, Version};

/// Why a packet was refused: a sentence for the log, and a word for the metric's label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The IPv4 header is invalid, or not that of a complete VRRP packet.
    IpHeader,
    /// Its source is this host: looped multicast, or a forged source.
    Own,
    /// Its source is not the peer.
    Source {
        /// Who sent it.
        found: IpAddr,
    },
    /// It is unicast where multicast is expected, or the reverse.
    Destination {
        /// Where it was sent to.
        found: IpAddr,
        /// What we expect.
        expected: Cast,
    },
    /// It has crossed a router.
    Ttl {
        /// Its time to live, or hop limit.
        found: u8,
    },
    /// It is shorter than any advert.
    TooShort {
        /// The packet's length in bytes.
        length: usize,
    },
    /// It is of another version.
    Version {
        /// Its version.
        found: u8,
        /// Ours.
        expected: Version,
    },
    /// Its type is not that of an advert, the only one in VRRP.
    Type {
        /// Its type.
        found: u8,
    },
    /// Its length is not what its count of addresses makes it.
    Length {
        /// The packet's length in bytes.
        found: usize,
        /// The length that it should have, in bytes.
        expected: usize,
    },
    /// Its checksum is wrong.
    Checksum {
        /// Whether it would be right under the other rule: with the pseudo-header if ours excludes it,
        /// and the reverse.
        other_rule: bool,
    },
    /// It is of another virtual router.
    RouterId {
        /// Its virtual router.
        found: u8,
        /// Ours.
        expected: NonZeroU8,
    },
    /// It is authenticated in another way than ours are.
    AuthenticationType {
        /// The number in RFC 2338: 0 is no authentication, 1 a password, 2 IPsec's authentication
        /// header.
        found: u8,
        /// The number for our authentication.
        expected: u8,
    },
    /// Its password differs from ours.
    Password,
    /// It has no HMAC, and a key is configured here.
    Unsigned,
    /// It has an HMAC, and no key is configured here.
    Signed,
    /// Its trailer has an unknown format.
    Trailer,
    /// Its trailer names an unknown key.
    Key {
        /// The key's number.
        id: u8,
    },
    /// Its HMAC is wrong: it was made with another key, or is a forgery.
    Hmac,
    /// Its time is too far from this host's clock.
    Stale {
        /// Seconds by which its time is behind our clock; negative if it is ahead.
        late: i32,
    },
    /// It, or a later advert of its sender, was received before; or it is a goodbye that this host may
    /// have received before it restarted.
    Replayed,
    /// Its interval is zero, or (in version 2) differs from this host's.
    Interval {
        /// Its interval; `None` if the packet says 0.
        found: Option<Interval>,
        /// Ours.
        expected: Interval,
    },
    /// It has another number of addresses than are configured here.
    AddressCount {
        /// How many addresses it has.
        found: usize,
        /// How many are configured here.
        expected: usize,
    },
    /// It has other addresses than are configured here.
    Addresses {
        /// An address that is configured here and missing in the packet.
        missing: IpAddr,
    },
}

impl Refusal {
    /// The words of [`Refusal::word`], in the order in which a packet is checked.
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

    /// Returns one word: the label `reason` of the metric.
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

    /// Whether this is normal on a network with several virtual routers, and not worth a log line.
    #[must_use]
    pub fn is_everyday(&self) -> bool {
        matches!(self, Self::Own | Self::RouterId { .. })
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IpHeader => f.write_str("its IPv4 header is broken"),
            Self::Own => f.write_str("it comes from our own address"),
            Self::Source { found } => write!(
                f,
                "{found} is not the peer: correct `peer`, or set `check_source = false` to hear anybody"
            ),
            Self::Destination { found, expected } => write!(
                f,
                "it was sent to {found}, but `transport` is {expected} here: both hosts need the same"
            ),
            Self::Ttl { found } => write!(
                f,
                "its time to live is {found}, not {TTL}: it was sent from beyond a router"
            ),
            Self::TooShort { length } => write!(f, "it has {length} bytes, an advert at least 8"),
            Self::Version { found, expected } => write!(
                f,
                "it is of version {found}, ours is {expected}: set `version` to the same on both hosts"
            ),
            Self::Type { found } => write!(f, "its type is {found}, an advert's is 1"),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes where its header means {expected}")
            }
            Self::Checksum { other_rule: true } => f.write_str(
                "its checksum follows the other rule for the pseudo-header: \
                 set `checksum_without_pseudo_header` to what the peer does",
            ),
            Self::Checksum { other_rule: false } => f.write_str("its checksum is wrong"),
            Self::RouterId { found, expected } => {
                write!(f, "it is of virtual router {found}, ours is {expected}")
            }
            Self::AuthenticationType { found, expected } => write!(
                f,
                "it is authenticated {}, ours are {}: both hosts need the same",
                authentication(found),
                authentication(expected),
            ),
            Self::Password => f.write_str("its password is not ours"),
            Self::Unsigned => f.write_str("it has no HMAC, and a key is configured here"),
            Self::Signed => f.write_str("it has an HMAC, and no key is configured here"),
            Self::Trailer => f.write_str("its HMAC is of a kind that lb does not know"),
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
            } => write!(f, "its interval is 0, ours is {expected}"),
            Self::Interval {
                found: Some(found),
                expected,
            } => write!(
                f,
                "its interval is {found}, ours is {expected}: version 2 wants the same on both hosts"
            ),
            Self::AddressCount { found, expected } => write!(
                f,
                "it is for {found} addresses, ours for {expected}: both hosts need the same ones"
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
        2 => "by IPsec's header",
        _ => "in an unknown way",
    }
}
