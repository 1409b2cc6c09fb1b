//! Properties that hold for every advert and for every packet.

use proptest::prelude::*;

use super::*;

fn any_settings() -> impl Strategy<Value = Settings> {
    let family = prop_oneof![Just(true), Just(false)];
    (
        family,
        any::<bool>(),
        1..=255_u8,
        any::<bool>(),
        any::<bool>(),
        0..3_u8,
    )
        .prop_flat_map(|(ipv4, v2, id, multicast, rfc_9568, kind)| {
            let version = if v2 && ipv4 { Version::V2 } else { Version::V3 };
            let interval = match version {
                Version::V2 => (1..=255_u16).prop_map(|seconds| seconds * 100).boxed(),
                Version::V3 => (1..=4_095_u16).boxed(),
            };
            let (source, peer) = if ipv4 {
                (SENDER, RECEIVER)
            } else {
                (SENDER_V6, RECEIVER_V6)
            };
            (interval, any_addresses(ipv4)).prop_map(move |(interval, addresses)| Settings {
                version,
                router_id: NonZeroU8::new(id).expect("not zero"),
                source,
                peer,
                cast: if multicast {
                    Cast::Multicast
                } else {
                    Cast::Unicast
                },
                senders: Senders::Peer,
                check_ttl: false,
                interval: centiseconds(interval),
                addresses,
                authentication: match (kind, version) {
                    (0, Version::V2) => password("s3cret"),
                    (1, _) => hmac(),
                    _ => Authentication::None,
                },
                checksum_without_pseudo_header: rfc_9568,
            })
        })
}

fn any_addresses(ipv4: bool) -> impl Strategy<Value = Vec<IpAddr>> {
    let address = any::<[u8; 16]>().prop_map(move |octets| {
        let [a, b, c, d, ..] = octets;
        if ipv4 {
            IpAddr::from([a, b, c, d])
        } else {
            IpAddr::from(octets)
        }
    });
    prop::collection::vec(address, 0..20)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(settings in any_settings(), priority: u8) {
        let advert = decode(&settings, &encode(&settings, priority));
        prop_assert_eq!(advert, Ok(Advert {
            priority: Priority::new(priority),
            interval: settings.interval,
            addresses: settings.addresses,
        }));
    }

    #[test]
    fn an_advert_with_one_bit_flipped_is_refused(
        settings in any_settings(), priority: u8, place: prop::sample::Index, bit in 0..8_u8,
    ) {
        let mut advert = encode(&settings, priority);
        let place = place.index(advert.len());
        advert[place] ^= 1 << bit;
        prop_assert!(decode(&settings, &advert).is_err(), "byte {}, bit {}", place, bit);
    }

    #[test]
    fn an_advert_of_another_length_is_refused(
        settings in any_settings(), priority: u8, cut: prop::sample::Index, more in 1..64_usize,
    ) {
        let advert = encode(&settings, priority);
        let cut = cut.index(advert.len());
        prop_assert!(decode(&settings, &advert[..cut]).is_err(), "{} bytes", cut);
        let mut longer = advert;
        longer.extend(vec![0; more]);
        prop_assert!(decode(&settings, &longer).is_err(), "{} bytes more", more);
    }

    #[test]
    fn no_bytes_are_too_strange(settings in any_settings(), bytes: Vec<u8>) {
        drop(decode(&settings, &bytes));
        let _ = super::super::parse_ipv4(&bytes);
    }

    /// Packets that begin like an advert and continue with random bytes: entirely random bytes
    /// rarely pass the first checks.
    #[test]
    fn no_advert_is_too_strange(settings in any_settings(), mut bytes: Vec<u8>) {
        let advert = encode(&settings, 100);
        let kept = bytes.len().min(advert.len());
        bytes[..kept.min(4)].copy_from_slice(&advert[..kept.min(4)]);
        if let Ok(advert) = decode(&settings, &bytes) {
            prop_assert!(settings.addresses.is_empty() || advert.addresses.len() == settings.addresses.len());
        }
    }

    #[test]
    fn an_interval_is_a_whole_number_of_centiseconds(centis in 1..=u16::MAX, rest in 1..10_000_000_u64) {
        let interval = centiseconds(centis);
        prop_assert_eq!(Interval::from_duration(interval.duration()), Some(interval));
        let between = interval.duration() + Duration::from_nanos(rest);
        prop_assert_eq!(Interval::from_duration(between), None);
    }
}
