mod golden;
mod keys;
mod properties;
mod refusals;
mod replay;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU8,
    time::Duration,
};

use super::{
    Advert, Authentication, Cast, Decoder, Encoder, Interval, Key, Keys, Packet, Password,
    Priority, Refusal, Senders, Settings, Version, Wire,
};

/// Addresses of the hosts of the recorded adverts in these tests: one sends, the other receives.
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const RECEIVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
const SENDER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const RECEIVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// The time of these tests, since 1970: a moment in 2025.
const NOW: Duration = Duration::from_millis(1_750_000_000_500);

/// Returns the settings of the host that sent the recorded adverts: version 3, an interval of 100
/// ms, no addresses.
fn sender() -> Settings {
    Settings {
        version: Version::V3,
        router_id: NonZeroU8::new(51).expect("not zero"),
        source: SENDER,
        peer: RECEIVER,
        cast: Cast::Unicast,
        senders: Senders::Peer,
        check_ttl: false,
        interval: centiseconds(10),
        addresses: Vec::new(),
        authentication: Authentication::None,
        checksum_without_pseudo_header: false,
    }
}

/// Returns the settings of [`sender`] for adverts of version 2, with an interval of 1 s.
fn sender_v2() -> Settings {
    Settings {
        version: Version::V2,
        interval: centiseconds(100),
        ..sender()
    }
}

/// Returns the settings of the host that receives adverts of `settings`.
fn other_end(settings: &Settings) -> Settings {
    Settings {
        source: settings.peer,
        peer: settings.source,
        ..settings.clone()
    }
}

fn wire(settings: Settings) -> Wire {
    Wire::new(settings).expect("settings that fit together")
}

fn encode(settings: &Settings, priority: u8) -> Vec<u8> {
    Encoder::new(wire(settings.clone())).encode(Priority::new(priority), NOW)
}

fn packet<'a>(settings: &Settings, payload: &'a [u8]) -> Packet<'a> {
    Packet {
        source: settings.source,
        destination: wire(settings.clone()).destination(),
        ttl: 255,
        payload,
    }
}

/// Decodes `payload`, which a host with `settings` sent, as that host's peer does.
fn decode(settings: &Settings, payload: &[u8]) -> Result<Advert, Refusal> {
    decoder(&other_end(settings)).decode(&packet(settings, payload), NOW)
}

/// Returns a decoder that started an hour before [`NOW`].
fn decoder(settings: &Settings) -> Decoder {
    Decoder::new(wire(settings.clone()), NOW - Duration::from_secs(3600))
}

fn centiseconds(centiseconds: u16) -> Interval {
    Interval::from_centiseconds(centiseconds).expect("not zero")
}

fn password(text: &str) -> Authentication {
    Authentication::Password(Password::new(text).expect("a password"))
}

/// Returns the key of the examples in `draft-cassen-vrrp-auth-hmac`.
fn draft_key() -> Key {
    let secret: Vec<u8> = (0..32).collect();
    Key::new(NonZeroU8::MIN, &secret).expect("a key")
}

fn hmac() -> Authentication {
    Authentication::Hmac(Keys::one(draft_key()))
}

fn addresses(text: &[&str]) -> Vec<IpAddr> {
    let parse = |text: &&str| text.parse().expect("an address");
    text.iter().map(parse).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = (text.chars())
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| u8::try_from(digit).expect("a digit"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
