//! Decodes adverts, and refuses packets that are not valid adverts of this virtual router.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{
    Advert, Authentication, Cast, Interval, Password, Priority, Refusal, Senders, Settings, TTL,
    Version, Wire,
    checksum::{self, Pseudo},
    encode::{ADVERTISEMENT, authentication_type, bound},
    hmac::{self, Guard, Window},
    wire::version_2_seconds,
};

/// Length in bytes of the part of an advert before its addresses.
const HEADER: usize = 8;

/// A received VRRP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// Source address in the IP header.
    pub source: IpAddr,
    /// Destination address in the IP header.
    pub destination: IpAddr,
    /// The TTL of IPv4, or the hop limit of IPv6.
    pub ttl: u8,
    /// Everything after the IP header.
    pub payload: &'a [u8],
}

/// Decodes received packets into the adverts of one virtual router.
#[derive(Clone, Debug)]
pub struct Decoder {
    wire: Wire,
    guard: Option<Guard>,
}

impl Decoder {
    /// Returns a decoder that has received no advert yet and starts at `utc`, the time since 1970.
    #[must_use]
    pub fn new(wire: Wire, utc: Duration) -> Self {
        let settings = wire.settings();
        let window = Window::of(settings.interval);
        let guard = match &settings.authentication {
            Authentication::Hmac(keys) => Some(Guard::new(keys.clone(), window, utc)),
            Authentication::None | Authentication::Password(_) => None,
        };
        Self { wire, guard }
    }

    /// Decodes a packet, with the checks of RFC 9568, section 7.1, in order. `utc` is the time
    /// since 1970, for the replay protection of HMAC.
    ///
    /// # Errors
    /// The first check that failed. A refused packet changes no state.
    pub fn decode(&mut self, packet: &Packet<'_>, utc: Duration) -> Result<Advert, Refusal> {
        let settings = self.wire.settings();
        check_way(settings, packet)?;
        let header = Header::parse(settings, packet.payload)?;
        let (advert, trailer) = self.split(&header, packet)?;
        self.check_sum(packet, advert)?;
        header.check_router(settings)?;
        let fresh = match (&self.guard, trailer) {
            (Some(guard), Some(_)) => {
                let bound = bound(&self.wire, packet.source);
                let goodbye = header.priority.is_goodbye();
                Some(guard.check(packet.payload, (bound, goodbye), utc)?)
            }
            (Some(_), None) => return Err(Refusal::Unsigned),
            (None, _) => None,
        };
        let rest = &advert[HEADER..];
        let (addresses, rest) =
            rest.split_at(rest.len().min(header.addresses_length(packet.source)));
        let mut interval = header.check_version_fields(settings, rest)?;
        if self.guard.is_none() {
            interval = interval.min(longest_unsigned(settings.interval));
        }
        let addresses = parse_addresses(addresses, packet.source);
        check_addresses(&settings.addresses, &addresses)?;
        if let (Some(guard), Some(fresh)) = (&mut self.guard, fresh) {
            guard.take(fresh);
        }
        Ok(Advert {
            priority: header.priority,
            interval,
            addresses,
        })
    }

    /// Splits the payload into the advert and the trailer after it; `None` for the trailer if
    /// nothing follows the advert.
    fn split<'a>(
        &self,
        header: &Header,
        packet: &Packet<'a>,
    ) -> Result<(&'a [u8], Option<&'a [u8]>), Refusal> {
        let payload = packet.payload;
        let expected = header.length(packet.source);
        let (advert, behind) = payload.split_at_checked(expected).ok_or(Refusal::Length {
            found: payload.len(),
            expected,
        })?;
        match (behind.len(), &self.guard) {
            (0, _) => Ok((advert, None)),
            (hmac::LENGTH, Some(_)) => Ok((advert, Some(behind))),
            (hmac::LENGTH, None) => Err(Refusal::Signed),
            _ => Err(Refusal::Length {
                found: payload.len(),
                expected,
            }),
        }
    }

    fn check_sum(&self, packet: &Packet<'_>, advert: &[u8]) -> Result<(), Refusal> {
        let (source, destination) = (packet.source, packet.destination);
        let covered = if source.is_ipv4() {
            advert
        } else {
            packet.payload
        };
        let rule = self.wire.pseudo(source, destination);
        if checksum::of(covered, rule) == 0 {
            return Ok(());
        }
        let other = match rule {
            Pseudo::Header { .. } => Pseudo::None,
            Pseudo::None => Pseudo::Header {
                source,
                destination,
            },
        };
        let either = self.wire.settings().version == Version::V3 && source.is_ipv4();
        let other_rule = either && checksum::of(covered, other) == 0;
        Err(Refusal::Checksum { other_rule })
    }
}

/// Returns the longest interval that is accepted in an advert without an HMAC, which anyone could
/// have sent: ten times this host's interval, and at least a second. It is limited because a
/// standby waits for three intervals before it takes over, so a forged long interval would delay
/// it.
fn longest_unsigned(ours: Interval) -> Interval {
    let longest = ours.centiseconds().saturating_mul(10).max(100);
    Interval::from_centiseconds(longest).unwrap_or(ours)
}

/// Checks the addresses and the TTL of the packet's IP header.
fn check_way(settings: &Settings, packet: &Packet<'_>) -> Result<(), Refusal> {
    let found = packet.source;
    if found == settings.source {
        return Err(Refusal::Own);
    }
    let other_family = found.is_ipv4() != settings.source.is_ipv4();
    if other_family || (settings.senders == Senders::Peer && found != settings.peer) {
        return Err(Refusal::Source { found });
    }
    let expected = settings.cast;
    if packet.destination.is_multicast() != (expected == Cast::Multicast) {
        let found = packet.destination;
        return Err(Refusal::Destination { found, expected });
    }
    if (expected == Cast::Multicast || settings.check_ttl) && packet.ttl != TTL {
        return Err(Refusal::Ttl { found: packet.ttl });
    }
    Ok(())
}

/// The eight bytes of an advert before its addresses.
#[derive(Clone, Copy, Debug)]
struct Header {
    version: Version,
    router_id: u8,
    priority: Priority,
    count: u8,
    /// In version 2, the authentication type and the interval in seconds; in version 3, the
    /// interval in centiseconds.
    fields: [u8; 2],
}

impl Header {
    fn parse(settings: &Settings, payload: &[u8]) -> Result<Self, Refusal> {
        let length = payload.len();
        let (header, _) = payload
            .split_first_chunk::<HEADER>()
            .ok_or(Refusal::TooShort { length })?;
        let [kind, router_id, priority, count, fields @ .., _, _] = *header;
        let expected = settings.version;
        if kind >> 4 != expected.number() {
            let found = kind >> 4;
            return Err(Refusal::Version { found, expected });
        }
        if kind & 0xf != ADVERTISEMENT {
            return Err(Refusal::Type { found: kind & 0xf });
        }
        Ok(Self {
            version: expected,
            router_id,
            priority: Priority::new(priority),
            count,
            fields,
        })
    }

    fn length(&self, source: IpAddr) -> usize {
        let authentication = match self.version {
            Version::V2 => Password::LENGTH,
            Version::V3 => 0,
        };
        HEADER + self.addresses_length(source) + authentication
    }

    fn addresses_length(&self, source: IpAddr) -> usize {
        usize::from(self.count) * if source.is_ipv4() { 4 } else { 16 }
    }

    fn check_router(&self, settings: &Settings) -> Result<(), Refusal> {
        let (found, expected) = (self.router_id, settings.router_id);
        if found == expected.get() {
            return Ok(());
        }
        Err(Refusal::RouterId { found, expected })
    }

    /// Checks the fields that versions 2 and 3 encode differently, which are the authentication and
    /// the interval, and returns the interval. `rest` is the part of the advert after its
    /// addresses.
    fn check_version_fields(&self, settings: &Settings, rest: &[u8]) -> Result<Interval, Refusal> {
        let expected = settings.interval;
        match self.version {
            Version::V2 => {
                let [kind, seconds] = self.fields;
                check_password(&settings.authentication, kind, rest)?;
                if version_2_seconds(expected) == Some(seconds) {
                    return Ok(expected);
                }
                let found = Interval::from_centiseconds(u16::from(seconds) * 100);
                Err(Refusal::Interval { found, expected })
            }
            Version::V3 => {
                // The four high bits of the interval's field are reserved, and ignored.
                let centiseconds = u16::from_be_bytes(self.fields) & 0xfff;
                Interval::from_centiseconds(centiseconds).ok_or(Refusal::Interval {
                    found: None,
                    expected,
                })
            }
        }
    }
}

fn check_password(ours: &Authentication, found: u8, data: &[u8]) -> Result<(), Refusal> {
    let expected = authentication_type(ours);
    if found != expected {
        return Err(Refusal::AuthenticationType { found, expected });
    }
    match ours {
        Authentication::Password(password) if !password.is(data) => Err(Refusal::Password),
        _ => Ok(()),
    }
}

fn parse_addresses(bytes: &[u8], source: IpAddr) -> Vec<IpAddr> {
    if source.is_ipv4() {
        let (octets, _) = bytes.as_chunks::<4>();
        return octets.iter().map(|o| Ipv4Addr::from(*o).into()).collect();
    }
    let (octets, _) = bytes.as_chunks::<16>();
    octets.iter().map(|o| Ipv6Addr::from(*o).into()).collect()
}

/// Refuses adverts whose virtual addresses, `theirs`, are others than `ours`, as keepalived 2.2
/// does, unless `ours` is empty.
fn check_addresses(ours: &[IpAddr], theirs: &[IpAddr]) -> Result<(), Refusal> {
    if ours.is_empty() {
        return Ok(());
    }
    let (found, expected) = (theirs.len(), ours.len());
    if found != expected {
        return Err(Refusal::AddressCount { found, expected });
    }
    match ours.iter().find(|address| !theirs.contains(address)) {
        Some(missing) => Err(Refusal::Addresses { missing: *missing }),
        None => Ok(()),
    }
}
