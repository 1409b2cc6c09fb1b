//! Every packet that is not an advert for this virtual router is refused, each kind with its own
//! reason.

use super::super::{Misfit, parse_ipv4};
use super::*;

/// Decodes `payload` after correcting its checksum, so that another check refuses it.
fn decode_with_checksum(settings: &Settings, mut payload: Vec<u8>) -> Result<Advert, Refusal> {
    use super::super::checksum;

    payload[6..8].fill(0);
    let way = packet(settings, &[]);
    let wire = wire(settings.clone());
    let sum = checksum::of(&payload, wire.pseudo(way.source, way.destination));
    payload[6..8].copy_from_slice(&sum.to_be_bytes());
    decode(settings, &payload)
}

fn with_byte(settings: &Settings, index: usize, byte: u8) -> Vec<u8> {
    let mut payload = encode(settings, 150);
    payload[index] = byte;
    payload
}

#[test]
fn another_version_is_refused() {
    let found = decode(&sender(), &encode(&sender_v2(), 150));
    let expected = Version::V3;
    assert_eq!(found, Err(Refusal::Version { found: 2, expected }));
    let found = decode(&sender_v2(), &encode(&sender(), 150));
    let expected = Version::V2;
    assert_eq!(found, Err(Refusal::Version { found: 3, expected }));
}

#[test]
fn another_type_is_refused() {
    let payload = with_byte(&sender(), 0, 0x32);
    let found = decode_with_checksum(&sender(), payload);
    assert_eq!(found, Err(Refusal::Type { found: 2 }));
}

#[test]
fn another_virtual_router_is_refused() {
    for other in [0, 52] {
        let found = decode_with_checksum(&sender(), with_byte(&sender(), 1, other));
        let expected = sender().router_id;
        assert_eq!(
            found,
            Err(Refusal::RouterId {
                found: other,
                expected
            })
        );
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    let found = decode(&sender(), &with_byte(&sender(), 2, 151));
    assert_eq!(found, Err(Refusal::Checksum { other_rule: false }));
}

#[test]
fn a_checksum_by_the_other_rule_is_refused_with_a_hint() {
    let rfc_9568 = Settings {
        checksum_without_pseudo_header: true,
        ..sender()
    };
    let hint = Err(Refusal::Checksum { other_rule: true });
    assert_eq!(decode(&sender(), &encode(&rfc_9568, 150)), hint);
    assert_eq!(decode(&rfc_9568, &encode(&sender(), 150)), hint);
    assert_eq!(
        decode(&rfc_9568, &encode(&rfc_9568, 150)).map(|advert| advert.priority.get()),
        Ok(150)
    );
}

#[test]
fn the_checksum_covers_the_addresses_of_the_ip_header() {
    let anybody = Settings {
        senders: Senders::Anybody,
        ..other_end(&sender())
    };
    let payload = encode(&sender(), 150);
    let from_another = Packet {
        source: IpAddr::from([10, 77, 0, 3]),
        ..packet(&sender(), &payload)
    };
    let found = decoder(&anybody).decode(&from_another, NOW);
    assert_eq!(found, Err(Refusal::Checksum { other_rule: false }));
}

#[test]
fn another_password_is_refused() {
    let with = |authentication| Settings {
        authentication,
        ..sender_v2()
    };
    let (right, wrong) = (with(password("s3cret")), with(password("secret")));
    let none = with(Authentication::None);
    assert_eq!(decode(&right, &encode(&wrong, 150)), Err(Refusal::Password));
    let kind = |found, expected| Err(Refusal::AuthenticationType { found, expected });
    assert_eq!(decode(&right, &encode(&none, 150)), kind(0, 1));
    assert_eq!(decode(&none, &encode(&right, 150)), kind(1, 0));
}

#[test]
fn an_hmac_and_none_do_not_go_together() {
    let signing = Settings {
        authentication: hmac(),
        ..sender()
    };
    let found = decode(&signing, &encode(&sender(), 150));
    assert_eq!(found, Err(Refusal::Unsigned));
    let found = decode(&sender(), &encode(&signing, 150));
    assert_eq!(found, Err(Refusal::Signed));
}

#[test]
fn every_byte_of_the_hmac_s_trailer_counts() {
    let signing = Settings {
        authentication: hmac(),
        ..sender()
    };
    let expected = |index| match index {
        0 | 2 | 3 => Refusal::Trailer,
        1 => Refusal::Key { id: 0 },
        // These bytes are the seconds of the time in the trailer: changing one of the bytes puts
        // that time outside the window that is accepted.
        4..7 => Refusal::Stale { late: 0 },
        _ => Refusal::Hmac,
    };
    let advert = encode(&signing, 150);
    for index in 0..28 {
        let mut forged = advert.clone();
        forged[8 + index] ^= 1;
        let refusal = decode(&signing, &forged).expect_err("forged");
        let (found, expected) = (refusal.word(), expected(index).word());
        assert_eq!(found, expected, "byte {index} of the trailer");
    }
}

#[test]
fn an_hmac_binds_the_virtual_router_and_the_source() {
    let at = |id: u8, source: IpAddr| Settings {
        router_id: NonZeroU8::new(id).expect("not zero"),
        source,
        authentication: hmac(),
        checksum_without_pseudo_header: true,
        ..sender()
    };
    // An advert of another virtual router, with this router's number written into it and the
    // checksum corrected.
    let mut spliced = encode(&at(52, SENDER), 150);
    spliced[1] = 51;
    let ours = at(51, SENDER);
    let sum = u16::from_be_bytes([spliced[6], spliced[7]]) + 1;
    spliced[6..8].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(decode(&ours, &spliced), Err(Refusal::Hmac));
    let others = encode(&at(51, IpAddr::from([10, 77, 0, 9])), 150);
    assert_eq!(decode(&ours, &others), Err(Refusal::Hmac));
}

#[test]
fn version_2_wants_our_interval_and_version_3_takes_the_sender_s() {
    let at = |interval, settings: Settings| Settings {
        interval: centiseconds(interval),
        ..settings
    };
    let found = decode(&sender_v2(), &encode(&at(200, sender_v2()), 150));
    let (theirs, expected) = (Some(centiseconds(200)), centiseconds(100));
    let refusal = Refusal::Interval {
        found: theirs,
        expected,
    };
    assert_eq!(found, Err(refusal));
    let found = decode(&sender(), &encode(&at(50, sender()), 150));
    assert_eq!(found.map(|advert| advert.interval), Ok(centiseconds(50)));
}

#[test]
fn an_interval_of_nothing_is_refused() {
    let found = decode_with_checksum(&sender(), with_byte(&sender(), 5, 0));
    let expected = sender().interval;
    assert_eq!(
        found,
        Err(Refusal::Interval {
            found: None,
            expected
        })
    );
}

#[test]
fn the_reserved_bits_before_the_interval_are_ignored() {
    let found = decode_with_checksum(&sender(), with_byte(&sender(), 4, 0xf0));
    assert_eq!(found.map(|advert| advert.interval), Ok(sender().interval));
}

#[test]
fn other_addresses_are_refused_where_we_have_any() {
    let with = |text: &[&str]| Settings {
        addresses: addresses(text),
        ..sender()
    };
    let ours = with(&["10.77.0.100", "10.77.0.101"]);
    let turned = with(&["10.77.0.101", "10.77.0.100"]);
    let fewer = with(&["10.77.0.100"]);
    let others = with(&["10.77.0.100", "10.77.0.102"]);
    let twice = with(&["10.77.0.100", "10.77.0.100"]);
    let missing = "10.77.0.101".parse().expect("an address");
    assert!(decode(&ours, &encode(&turned, 150)).is_ok());
    let count = |found, expected| Err(Refusal::AddressCount { found, expected });
    assert_eq!(decode(&ours, &encode(&fewer, 150)), count(1, 2));
    assert_eq!(decode(&ours, &encode(&sender(), 150)), count(0, 2));
    for strange in [others, twice] {
        let found = decode(&ours, &encode(&strange, 150));
        assert_eq!(found, Err(Refusal::Addresses { missing }));
    }
}

#[test]
fn addresses_do_not_matter_where_we_have_none() {
    let theirs = Settings {
        addresses: addresses(&["10.77.0.100"]),
        ..sender()
    };
    let found = decode(&sender(), &encode(&theirs, 150));
    assert_eq!(found.map(|advert| advert.addresses), Ok(theirs.addresses));
}

#[test]
fn only_the_peer_is_heard_unless_anybody_may_speak() {
    let stranger = IpAddr::from([10, 77, 0, 3]);
    let from_stranger = Settings {
        source: stranger,
        ..sender()
    };
    let payload = encode(&from_stranger, 150);
    let packet = packet(&from_stranger, &payload);
    let ours = other_end(&sender());
    let found = decoder(&ours).decode(&packet, NOW);
    assert_eq!(found, Err(Refusal::Source { found: stranger }));
    let ours = Settings {
        senders: Senders::Anybody,
        ..ours
    };
    let found = decoder(&ours).decode(&packet, NOW);
    assert_eq!(found.map(|advert| advert.priority.get()), Ok(150));
}

#[test]
fn nobody_speaks_with_our_own_address() {
    let ours = Settings {
        senders: Senders::Anybody,
        ..sender()
    };
    let payload = encode(&ours, 255);
    let found = decoder(&ours).decode(&packet(&ours, &payload), NOW);
    assert_eq!(found, Err(Refusal::Own));
}

#[test]
fn a_time_to_live_below_255_is_refused_in_multicast_only() {
    for cast in [Cast::Unicast, Cast::Multicast] {
        let settings = Settings { cast, ..sender() };
        let payload = encode(&settings, 150);
        let routed = Packet {
            ttl: 64,
            ..packet(&settings, &payload)
        };
        let found = decoder(&other_end(&settings)).decode(&routed, NOW);
        let expected = match cast {
            Cast::Unicast => Ok(()),
            Cast::Multicast => Err(Refusal::Ttl { found: 64 }),
        };
        assert_eq!(found.map(drop), expected);
    }
}

#[test]
fn unicast_and_multicast_do_not_go_together() {
    for (sent, expected) in [
        (Cast::Unicast, Cast::Multicast),
        (Cast::Multicast, Cast::Unicast),
    ] {
        let with = |cast| Settings { cast, ..sender() };
        let payload = encode(&with(sent), 150);
        let packet = packet(&with(sent), &payload);
        let found = decoder(&other_end(&with(expected))).decode(&packet, NOW);
        let refusal = Refusal::Destination {
            found: packet.destination,
            expected,
        };
        assert_eq!(found, Err(refusal));
    }
}

#[test]
fn an_ipv4_packet_is_taken_apart() {
    let advert = encode(&sender(), 150);
    let datagram = ipv4(&advert);
    assert_eq!(parse_ipv4(&datagram), Ok(packet(&sender(), &advert)));
}

#[test]
fn a_broken_ipv4_header_is_refused() {
    let datagram = ipv4(&encode(&sender(), 150));
    for length in 0..datagram.len() {
        assert_eq!(parse_ipv4(&datagram[..length]), Err(Refusal::IpHeader));
    }
    // The changed bytes, in order: version, header length (too short, too long), total length,
    // "more fragments", fragment offset, protocol.
    for (index, byte) in [
        (0, 0x65),
        (0, 0x44),
        (0, 0x4f),
        (3, 27),
        (6, 0x20),
        (7, 1),
        (9, 17),
    ] {
        let mut broken = datagram.clone();
        broken[index] = byte;
        let refused = parse_ipv4(&broken);
        assert_eq!(refused, Err(Refusal::IpHeader), "byte {index} is {byte}");
    }
}

fn ipv4(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(20 + payload.len()).expect("short");
    let mut datagram = vec![0x45, 0xc0, 0, length, 0, 1, 0, 0, 255, 112, 0, 0];
    datagram.extend([10, 77, 0, 1, 10, 77, 0, 2]);
    datagram.extend(payload);
    datagram
}

#[test]
fn what_the_wire_cannot_carry_is_no_wire() {
    let misfit = |settings| Wire::new(settings).expect_err("a misfit");
    let address = SENDER_V6;
    assert_eq!(
        misfit(Settings {
            addresses: vec![address],
            ..sender()
        }),
        Misfit::Family { address }
    );
    assert_eq!(
        misfit(Settings {
            peer: address,
            ..sender()
        }),
        Misfit::Family { address }
    );
    assert_eq!(
        misfit(Settings {
            addresses: vec![SENDER; 256],
            ..sender()
        }),
        Misfit::TooManyAddresses
    );
    assert_eq!(
        misfit(Settings {
            source: SENDER_V6,
            peer: RECEIVER_V6,
            ..sender_v2()
        }),
        Misfit::Version2OverIpv6
    );
    assert_eq!(
        misfit(Settings {
            authentication: password("s3cret"),
            ..sender()
        }),
        Misfit::PasswordInVersion3
    );
    for (version, centis) in [
        (Version::V2, 150),
        (Version::V2, 25_600),
        (Version::V3, 4_096),
    ] {
        let interval = centiseconds(centis);
        assert_eq!(
            misfit(Settings {
                version,
                interval,
                ..sender()
            }),
            Misfit::Interval { version, interval }
        );
    }
}

#[test]
fn the_list_of_words_is_complete() {
    let (found, expected) = (0, 1);
    let (length, id, late) = (0, 2, 6);
    let address = SENDER;
    let one_of_each = [
        Refusal::IpHeader,
        Refusal::Own,
        Refusal::Source { found: address },
        Refusal::Destination {
            found: address,
            expected: Cast::Unicast,
        },
        Refusal::Ttl { found: 64 },
        Refusal::TooShort { length },
        Refusal::Version {
            found: 2,
            expected: Version::V3,
        },
        Refusal::Type { found: 2 },
        Refusal::Length { found, expected },
        Refusal::Checksum { other_rule: false },
        Refusal::RouterId {
            found: 52,
            expected: NonZeroU8::MIN,
        },
        Refusal::AuthenticationType {
            found: 1,
            expected: 0,
        },
        Refusal::Password,
        Refusal::Unsigned,
        Refusal::Signed,
        Refusal::Trailer,
        Refusal::Key { id },
        Refusal::Hmac,
        Refusal::Stale { late },
        Refusal::Replayed,
        Refusal::Interval {
            found: None,
            expected: centiseconds(10),
        },
        Refusal::Addresses { missing: address },
    ];
    assert_eq!(one_of_each.map(|refusal| refusal.word()), Refusal::WORDS);
    let count = Refusal::AddressCount { found, expected };
    assert!(Refusal::WORDS.contains(&count.word()));
}

#[test]
fn the_interval_of_an_unsigned_advert_is_believed_up_to_ten_times_our_own() {
    let heard = |ours: u16, theirs: u16, authentication: Authentication| {
        let settings = |interval| Settings {
            interval: centiseconds(interval),
            authentication: authentication.clone(),
            ..sender()
        };
        let payload = encode(&settings(theirs), 150);
        let advert = decode(&settings(ours), &payload).expect("an advert");
        advert.interval.centiseconds()
    };
    assert_eq!(heard(100, 500, Authentication::None), 500);
    assert_eq!(heard(100, 4095, Authentication::None), 1000);
    assert_eq!(heard(10, 4095, Authentication::None), 100);
    assert_eq!(heard(1, 100, Authentication::None), 100);
    assert_eq!(heard(10, 4095, hmac()), 4095, "only the peer can sign");
}

#[test]
fn a_unicast_advert_from_beyond_a_router_is_refused_where_that_is_configured() {
    let ours = Settings {
        check_ttl: true,
        ..other_end(&sender())
    };
    let payload = encode(&sender(), 150);
    let routed = Packet {
        ttl: 254,
        ..packet(&sender(), &payload)
    };
    let found = decoder(&ours).decode(&routed, NOW);
    assert_eq!(found, Err(Refusal::Ttl { found: 254 }));
    let direct = packet(&sender(), &payload);
    assert!(decoder(&ours).decode(&direct, NOW).is_ok());
}
