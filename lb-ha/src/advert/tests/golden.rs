//! Adverts that keepalived sent, and the examples of the HMAC's draft, are encoded and decoded byte
//! for byte.

use super::*;

#[track_caller]
fn are_its_bytes(settings: &Settings, priority: u8, hex: &str) {
    let bytes = from_hex(hex);
    assert_eq!(encode(settings, priority), bytes);
    assert_eq!(decode(settings, &bytes), Ok(said_by(settings, priority)));
}

fn said_by(settings: &Settings, priority: u8) -> Advert {
    Advert {
        priority: Priority::new(priority),
        interval: settings.interval,
        addresses: settings.addresses.clone(),
    }
}

#[test]
fn version_2_with_a_password_and_two_addresses() {
    let settings = Settings {
        addresses: addresses(&["10.77.0.100", "10.77.0.101"]),
        authentication: password("s3cret"),
        ..sender_v2()
    };
    let bytes = "213396020101f64b 0a4d0064 0a4d0065 7333637265740000";
    are_its_bytes(&settings, 150, bytes);
}

#[test]
fn version_2_without_authentication_and_addresses() {
    are_its_bytes(&sender_v2(), 150, "21339600000148cb 0000000000000000");
}

#[test]
fn version_3_with_one_address() {
    let settings = Settings {
        addresses: addresses(&["10.77.0.100"]),
        ..sender()
    };
    are_its_bytes(&settings, 150, "31339601000a18f7 0a4d0064");
}

/// The example advert over IPv4 in the appendix of `draft-cassen-vrrp-auth-hmac`, whose checksum is
/// RFC 9568's. Its time is 0x6800000080000000: half a second after 1,744,830,464.
#[test]
fn the_draft_s_hmac_over_ipv4() {
    let settings = Settings {
        source: "198.51.100.10".parse().expect("an address"),
        peer: "192.0.2.10".parse().expect("an address"),
        interval: centiseconds(100),
        addresses: addresses(&["192.0.2.100"]),
        authentication: hmac(),
        checksum_without_pseudo_header: true,
        ..sender()
    };
    are_the_draft_s(
        &settings,
        "3133c80100644402 c0000264 010100006800000080000000 1b84bc4e8e43892dc6d98448f8ee2265",
    );
}

/// The example advert over IPv6 in the appendix of `draft-cassen-vrrp-auth-hmac`, where the
/// checksum covers the trailer.
#[test]
fn the_draft_s_hmac_over_ipv6() {
    let settings = Settings {
        source: "fe80::10".parse().expect("an address"),
        peer: "fe80::20".parse().expect("an address"),
        interval: centiseconds(100),
        addresses: addresses(&["fe80::100"]),
        authentication: hmac(),
        ..sender()
    };
    are_the_draft_s(
        &settings,
        "3133c8010064a2e9 fe800000000000000000000000000100 \
         010100006800000080000000 c8c56146ebfd66ee10ec4d8186461b78",
    );
}

#[track_caller]
fn are_the_draft_s(settings: &Settings, hex: &str) {
    let time = Duration::from_millis(0x6800_0000 * 1_000 + 500);
    let bytes = from_hex(hex);
    let mut encoder = Encoder::new(wire(settings.clone()));
    assert_eq!(encoder.encode(Priority::new(200), time), bytes);
    let mut decoder = decoder(&other_end(settings));
    let decoded = decoder.decode(&packet(settings, &bytes), time);
    assert_eq!(decoded, Ok(said_by(settings, 200)));
}
