//! The settings of a virtual router, by which its adverts are encoded and checked.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
};

use super::{Authentication, Interval, checksum::Pseudo};

/// The settings of a virtual router; [`Wire::new`] checks that they are consistent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The version of VRRP, the same on both hosts.
    pub version: Version,
    /// The virtual router's number, the same on both hosts.
    pub router_id: NonZeroU8,
    /// Source address of this host's adverts.
    pub source: IpAddr,
    /// Address of the peer.
    pub peer: IpAddr,
    /// Whether adverts are sent by unicast or multicast.
    pub cast: Cast,
    /// Which senders' adverts are accepted.
    pub senders: Senders,
    /// Whether unicast adverts must have the TTL of 255 that multicast adverts always must have.
    pub check_ttl: bool,
    /// The time from one of this host's adverts to the next.
    pub interval: Interval,
    /// The addresses that this host's adverts carry. If there are any, received adverts must carry
    /// the same addresses; if there are none, received addresses are ignored.
    pub addresses: Vec<IpAddr>,
    /// How adverts are authenticated.
    pub authentication: Authentication,
    /// Whether the checksum of version 3 over IPv4 excludes the pseudo-header, as in RFC 9568;
    /// keepalived includes it by default, as in RFC 5798.
    pub checksum_without_pseudo_header: bool,
}

/// The version of VRRP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Version 2 (RFC 3768): intervals of whole seconds, IPv4 only.
    V2,
    /// Version 3 (RFC 9568).
    V3,
}

impl Version {
    /// Returns the version number that adverts carry.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// Whether adverts are sent by unicast or multicast.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cast {
    /// Adverts are sent to the peer only.
    Unicast,
    /// Adverts are sent to all VRRP routers of the network.
    Multicast,
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Multicast => "multicast",
        })
    }
}

/// Which senders' adverts are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Senders {
    /// Only adverts of the peer are accepted.
    Peer,
    /// Adverts of any sender are accepted, as is keepalived's default.
    Anybody,
}

/// Settings of a virtual router that are consistent, so every advert can be encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wire(Settings);

impl Wire {
    /// Checks that settings are consistent, and wraps them.
    ///
    /// # Errors
    /// The first setting that an advert cannot carry.
    pub fn new(settings: Settings) -> Result<Self, Misfit> {
        let family = settings.source.is_ipv4();
        let addresses = &settings.addresses;
        let other = |address: &&IpAddr| address.is_ipv4() != family;
        if let Some(address) = std::iter::once(&settings.peer).chain(addresses).find(other) {
            return Err(Misfit::Family { address: *address });
        }
        if addresses.len() > usize::from(u8::MAX) {
            return Err(Misfit::TooManyAddresses);
        }
        match settings.version {
            Version::V2 if !family => return Err(Misfit::Version2OverIpv6),
            Version::V3 if matches!(settings.authentication, Authentication::Password(_)) => {
                return Err(Misfit::PasswordInVersion3);
            }
            _ => {}
        }
        if !carries(settings.version, settings.interval) {
            return Err(Misfit::Interval {
                version: settings.version,
                interval: settings.interval,
            });
        }
        Ok(Self(settings))
    }

    /// Returns the settings of the virtual router.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// Returns the destination of this host's adverts.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        match (self.0.cast, self.0.source) {
            (Cast::Unicast, _) => self.0.peer,
            (Cast::Multicast, IpAddr::V4(_)) => GROUP_V4.into(),
            (Cast::Multicast, IpAddr::V6(_)) => GROUP_V6.into(),
        }
    }

    /// Returns what the checksum of an advert covers besides the advert: nothing in version 2,
    /// always the pseudo-header over IPv6, and over IPv4 in version 3 what the settings say.
    pub(super) fn pseudo(&self, source: IpAddr, destination: IpAddr) -> Pseudo {
        let without = match self.0.version {
            Version::V2 => true,
            Version::V3 => self.0.checksum_without_pseudo_header && source.is_ipv4(),
        };
        if without {
            return Pseudo::None;
        }
        Pseudo::Header {
            source,
            destination,
        }
    }
}

/// The multicast address of adverts over IPv4 (RFC 9568, section 5.1.1.2).
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// The multicast address of adverts over IPv6 (RFC 9568, section 5.1.2.2).
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The longest interval in version 3, in centiseconds: the field has 12 bits.
const MOST_CENTISECONDS: u16 = 0xfff;

fn carries(version: Version, interval: Interval) -> bool {
    match version {
        Version::V2 => version_2_seconds(interval).is_some(),
        Version::V3 => interval.centiseconds() <= MOST_CENTISECONDS,
    }
}

/// Returns the interval in whole seconds, as version 2 carries it; `None` if it is not a whole
/// number of seconds up to 255.
pub(super) fn version_2_seconds(interval: Interval) -> Option<u8> {
    let centiseconds = interval.centiseconds();
    let whole = centiseconds.is_multiple_of(100);
    whole.then(|| u8::try_from(centiseconds / 100).ok())?
}

/// A setting that an advert cannot carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Misfit {
    /// The family of an address (IPv4 or IPv6) is not that of the source address.
    Family {
        /// The address whose family differs from that of the source address.
        address: IpAddr,
    },
    /// The advert has more than 255 addresses.
    TooManyAddresses,
    /// The version is 2 and the addresses are IPv6, but version 2 is for IPv4 only.
    Version2OverIpv6,
    /// The version is 3, which has no password, and one is configured.
    PasswordInVersion3,
    /// The version cannot carry the interval: version 2 has whole seconds up to 255, version 3
    /// centiseconds up to 40.95 s.
    Interval {
        /// The configured version of VRRP.
        version: Version,
        /// The configured interval.
        interval: Interval,
    },
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family { address } => {
                write!(
                    f,
                    "{address} is not of the family of the address that adverts come from"
                )
            }
            Self::TooManyAddresses => f.write_str("an advert carries at most 255 addresses"),
            Self::Version2OverIpv6 => {
                f.write_str("version 2 has no IPv6: write IPv4 addresses, or version = 3")
            }
            Self::PasswordInVersion3 => {
                f.write_str("version 3 has no password: use an HMAC, or no authentication")
            }
            Self::Interval {
                version: Version::V2,
                interval,
            } => write!(
                f,
                "version 2 cannot carry an interval of {interval}: it has whole seconds, 1 to 255"
            ),
            Self::Interval {
                version: Version::V3,
                interval,
            } => write!(
                f,
                "version 3 cannot carry an interval of {interval}: at most 40.95 s"
            ),
        }
    }
}
