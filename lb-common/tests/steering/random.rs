//! Random and malformed packets: each ends in one verdict, with correct checksums if it is steered.

use proptest::prelude::*;

use super::*;

fn any_packet() -> impl Strategy<Value = TcpPacket> {
    (
        (
            any::<[u8; 4]>(),
            any::<u16>(),
            prop_oneof![Just(80), Just(443), any::<u16>()],
        ),
        any::<u8>(),
        any::<u8>(),
        prop::collection::vec(0..4096_u16, 0..=1),
        (0..=10_usize, 0..=10_usize),
        prop::collection::vec(any::<u8>(), 0..100),
    )
        .prop_map(
            |((source, from, to), flags, ttl, vlans, (ip_options, tcp_options), payload)| {
                let key = TcpPacket::key((source, from), (VIP, to));
                TcpPacket {
                    ttl,
                    vlans,
                    ip_options,
                    tcp_options,
                    payload,
                    ..TcpPacket::new(key, flags)
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_steered_keeps_right_checksums_and_its_payload(packet in any_packet()) {
        let tables = tables();
        let (verdict, bytes) = sent(&tables, &packet);
        prop_assert!(bytes.ends_with(&packet.payload));
        let steered = matches!(verdict, Verdict::Transmit(_) | Verdict::Redirect(..));
        prop_assert_eq!(bytes != packet.bytes(), steered, "only what is steered is changed");
        prop_assert_eq!(tables.counted(verdict), 1);
        prop_assert_eq!(tables.counted_total(), 1);
    }

    #[test]
    fn every_prefix_of_a_packet_has_a_verdict(packet in any_packet(), keep in any::<prop::sample::Index>()) {
        let tables = tables();
        let mut bytes = packet.bytes();
        bytes.truncate(keep.index(bytes.len()));
        let before = bytes.clone();
        let verdict = tables.steer(&mut bytes);
        let tagged = !packet.vlans.is_empty() && before.len() >= 14;
        let expected = if tagged {
            verdict == Verdict::Pass(PassReason::Vlan)
        } else {
            matches!(verdict, Verdict::Drop(DropReason::Truncated | DropReason::BadIpv4))
        };
        prop_assert!(expected, "{:?}", verdict);
        prop_assert_eq!(bytes, before);
    }
}

#[test]
fn a_million_random_packets_each_end_in_one_verdict() {
    let tables = tables();
    let template = TcpPacket::new(from_client(1), SYN).bytes();
    let mut random = Random(0x1b_2026);
    let mut expected = vec![0; COUNTER_SLOTS as usize];
    for number in 0..1_000_000_u32 {
        let mut bytes = if number % 2 == 0 {
            mutated(&template, &mut random)
        } else {
            noise(&mut random)
        };
        let verdict = tables.steer(&mut bytes);
        expected[verdict.counter() as usize] += 1;
    }
    let counted: Vec<u64> = (0..COUNTER_SLOTS)
        .map(|index| tables.counted_at(index))
        .collect();
    assert_eq!(counted, expected);
    assert!(
        tables.counted(Verdict::Transmit(Steered::NewFlow)) > 0,
        "some were good"
    );
}

/// Returns a valid packet with a few bytes changed, sometimes truncated.
fn mutated(template: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.byte();
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.below(100);
    (0..length).map(|_| random.byte()).collect()
}

/// The pseudorandom generator SplitMix64, with which every run has the same packets.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.next() >> 16) as usize % limit
        }
    }

    pub(super) fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }
}
