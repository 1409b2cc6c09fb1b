//! Encodes adverts.

use std::{net::IpAddr, time::Duration};

use super::{
    Authentication, Password, Priority, Version, Wire, checksum,
    hmac::{Bound, Signer, Window},
    wire::version_2_seconds,
};

/// The packet type of an advert, in the lower half of its first byte: VRRP has no other type.
pub(super) const ADVERTISEMENT: u8 = 1;

/// Encodes the adverts of one virtual router.
#[derive(Clone, Debug)]
pub struct Encoder {
    wire: Wire,
    signer: Option<Signer>,
}

impl Encoder {
    /// Returns an encoder that has encoded no advert yet.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        let settings = wire.settings();
        let window = Window::of(settings.interval);
        let signer = match &settings.authentication {
            Authentication::Hmac(keys) => Some(Signer::new(keys, window)),
            Authentication::None | Authentication::Password(_) => None,
        };
        Self { wire, signer }
    }

    /// Returns the next advert, without an IP header, to be sent from the source to
    /// [`Wire::destination`]. `utc` is the time since 1970, which an HMAC covers.
    pub fn encode(&mut self, priority: Priority, utc: Duration) -> Vec<u8> {
        let (source, destination) = (self.wire.settings().source, self.wire.destination());
        let mut advert = unsigned(&self.wire, priority);
        let length = advert.len();
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut advert, bound(&self.wire, source), utc);
        }
        // Over IPv6 the checksum covers the trailer too, because there the kernel computes it for
        // keepalived.
        let covered = if source.is_ipv4() {
            length
        } else {
            advert.len()
        };
        let pseudo = self.wire.pseudo(source, destination);
        let sum = checksum::of(&advert[..covered], pseudo);
        advert[checksum::OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
        advert
    }
}

/// Returns an advert without a trailer, and with zero for its checksum.
fn unsigned(wire: &Wire, priority: Priority) -> Vec<u8> {
    let settings = wire.settings();
    let count = settings.addresses.len();
    let mut advert = vec![
        settings.version.number() << 4 | ADVERTISEMENT,
        settings.router_id.get(),
        priority.get(),
        u8::try_from(count).unwrap_or(u8::MAX),
    ];
    match settings.version {
        Version::V2 => {
            let seconds = version_2_seconds(settings.interval).unwrap_or(u8::MAX);
            advert.extend([authentication_type(&settings.authentication), seconds]);
        }
        Version::V3 => advert.extend(settings.interval.centiseconds().to_be_bytes()),
    }
    advert.extend([0, 0]);
    for address in &settings.addresses {
        match address {
            IpAddr::V4(v4) => advert.extend(v4.octets()),
            IpAddr::V6(v6) => advert.extend(v6.octets()),
        }
    }
    if settings.version == Version::V2 {
        advert.extend(authentication_data(&settings.authentication));
    }
    advert
}

/// Returns what the HMAC of an advert from the address `source` covers besides the advert.
pub(super) fn bound(wire: &Wire, source: IpAddr) -> Bound {
    Bound {
        source,
        version: wire.settings().version.number(),
        router_id: wire.settings().router_id,
    }
}

/// Returns the number of the authentication type (RFC 2338, section 5.3.6), which is 0 for an HMAC:
/// the RFC has no number for a trailer.
pub(super) fn authentication_type(authentication: &Authentication) -> u8 {
    match authentication {
        Authentication::Password(_) => 1,
        Authentication::None | Authentication::Hmac(_) => 0,
    }
}

fn authentication_data(authentication: &Authentication) -> [u8; Password::LENGTH] {
    match authentication {
        Authentication::Password(password) => *password.bytes(),
        Authentication::None | Authentication::Hmac(_) => [0; Password::LENGTH],
    }
}
