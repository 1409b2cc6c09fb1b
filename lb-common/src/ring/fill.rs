//! Filling a ring, whose slots new connections pick their backends from, with the backends that
//! accept connections.

use crate::{backend::BackendId, limits::RING_SIZES};

/// A backend with its share of a ring, from whose slots new connections pick their backends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Index of the backend, which is written into its slots of the ring.
    pub id: BackendId,
    /// Address and port, which determine the backend's slots in the ring: address and port are the
    /// same on every host that balances over this backend.
    pub identity: ([u8; 4], u16),
    /// The backend's relative share of the ring; at least 1.
    pub weight: u16,
}

/// A ring whose slots are filled with backends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ring {
    /// The index of a backend in each slot of the ring; empty if there is no backend.
    pub slots: Vec<BackendId>,
}

/// Minimum number of slots of a Maglev ring for the member with the smallest share, as far as the
/// largest ring has room: shares are then exact to one percent (NSDI 2016, section 5.3).
const SLOTS_A_SHARE: u32 = 100;

/// Returns the number of slots in the Maglev ring of a pool, given the weights of all configured
/// backends. Their states are ignored on purpose: hosts that see different backends as up still
/// agree on the size, and a backend that comes or goes moves few slots of the other backends.
#[must_use]
pub fn capacity_of(weights: &[u16]) -> u32 {
    let lightest = u32::from(weights.iter().min().copied().unwrap_or(1).max(1));
    let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
    let shares = total.div_ceil(lightest);
    let wanted = shares.saturating_mul(SLOTS_A_SHARE);
    let [.., largest] = RING_SIZES;
    RING_SIZES
        .into_iter()
        .find(|size| *size >= wanted)
        .unwrap_or(largest)
}

impl Ring {
    /// Builds a ring of `size` slots with the Maglev algorithm (NSDI 2016, section 3.4): each
    /// backend claims its next preferred slot in turn, as often as its weight requires, so that few
    /// slots change hands when a backend comes or goes. The order of the members does not matter.
    /// `size` is a prime.
    #[must_use]
    pub fn maglev(members: &[Member], size: u32) -> Self {
        let Some(heaviest) = members.iter().map(|member| member.weight).max() else {
            return Self { slots: Vec::new() };
        };
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| member.identity);
        let mut slots = vec![FREE; size as usize];
        let mut claims: Vec<Claim> = members
            .iter()
            .map(|member| Claim::new(member, size))
            .collect();
        let mut free = size;
        while free > 0 {
            for claim in &mut claims {
                // A backend with a smaller weight than the heaviest backend claims no slot of the
                // ring in a proportional part of the rounds.
                claim.credit += u32::from(claim.member.weight);
                if claim.credit < u32::from(heaviest) || free == 0 {
                    continue;
                }
                claim.credit -= u32::from(heaviest);
                let slot = claim.next_free(&slots);
                slots[slot] = claim.member.id;
                free -= 1;
            }
        }
        Self { slots }
    }

    /// Builds a ring for weighted round robin: one round, in which the turns of each backend are
    /// spread evenly. If a round of the configured `weights` (the members have some of them) needs
    /// more slots than the largest ring has, the ring is a Maglev ring.
    #[must_use]
    pub fn round_robin(members: &[Member], weights: &[u16]) -> Self {
        if Self::round_length(weights).is_none() {
            return Self::maglev(members, capacity_of(weights));
        }
        let divisor = common_divisor(members.iter().map(|member| member.weight));
        let mut turns: Vec<(u64, u32, BackendId)> = Vec::new();
        for (member, place) in members.iter().zip(0..) {
            let weight = u64::from(member.weight / divisor);
            // Position of a backend's turn in the round: the middle of one of `weight` equal parts
            // of it.
            let turn = |number: u64| ((2 * number + 1) << 32) / weight;
            turns.extend((0..weight).map(|number| (turn(number), place, member.id)));
        }
        turns.sort_unstable();
        Self {
            slots: turns.into_iter().map(|(_, _, id)| id).collect(),
        }
    }

    /// Returns the maximum number of slots in one round of [`Self::round_robin`] for backends with
    /// all or some of these weights; `None` if the largest ring has fewer slots.
    #[must_use]
    pub fn round_length(weights: &[u16]) -> Option<u32> {
        let divisor = u32::from(common_divisor(weights.iter().copied()));
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        let [.., largest] = RING_SIZES;
        Some(total / divisor).filter(|round| *round <= largest)
    }
}

/// Returns the greatest common divisor of the backends' weights; 1 if there are none.
fn common_divisor(weights: impl Iterator<Item = u16>) -> u16 {
    let divisor = weights.fold(0, |mut one, mut other| {
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    });
    divisor.max(1)
}

/// Marks a free slot of a ring: no backend has this index.
const FREE: BackendId = BackendId(u16::MAX);

/// A backend with its position in the order in which it prefers the slots of a ring (a
/// permutation).
struct Claim {
    member: Member,
    credit: u32,
    slot: u32,
    skip: u32,
}

impl Claim {
    fn new(member: &Member, size: u32) -> Self {
        let hash = spread(member.identity);
        let below = |bits: u64, bound: u32| (bits % u64::from(bound)) as u32;
        Self {
            member: *member,
            credit: 0,
            slot: below(hash >> 32, size),
            skip: below(hash & 0xffff_ffff, size - 1) + 1,
        }
    }

    /// Returns the next free slot in the backend's order of preference. At least one slot of the
    /// ring must be free.
    fn next_free(&mut self, slots: &[BackendId]) -> usize {
        let size = slots.len();
        loop {
            let slot = self.slot as usize;
            let next = slot + self.skip as usize;
            self.slot = (if next < size { next } else { next - size }) as u32;
            if slots[slot] == FREE {
                return slot;
            }
        }
    }
}

/// Hashes a backend's address and port to 64 bits, with the finalizer of SplitMix64.
fn spread((address, port): ([u8; 4], u16)) -> u64 {
    let mut bits = u64::from(u32::from_be_bytes(address)) << 16 | u64::from(port);
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u16]) -> Vec<Member> {
        weights
            .iter()
            .zip(0..)
            .map(|(&weight, id)| Member {
                id: BackendId(id),
                identity: ([10, 0, (id >> 8) as u8, id as u8], 80),
                weight,
            })
            .collect()
    }

    fn maglev(weights: &[u16]) -> Ring {
        Ring::maglev(&members(weights), capacity_of(weights))
    }

    fn turns(weights: &[u16]) -> Ring {
        Ring::round_robin(&members(weights), weights)
    }

    fn share(ring: &Ring, id: u16) -> f64 {
        let own = ring.slots.iter().filter(|slot| slot.0 == id).count();
        own as f64 / ring.slots.len() as f64
    }

    #[test]
    fn shares_follow_the_weights() {
        for ring in [maglev(&[1, 2, 1]), turns(&[1, 2, 1])] {
            for (id, expected) in [(0, 0.25), (1, 0.5), (2, 0.25)] {
                assert!(
                    (share(&ring, id) - expected).abs() < 0.01,
                    "{id}: {}",
                    share(&ring, id)
                );
            }
        }
    }

    #[test]
    fn a_round_of_turns_is_exact_and_spread() {
        assert_eq!(turns(&[1, 1, 1, 1]).slots, [0, 1, 2, 3].map(BackendId));
        assert_eq!(turns(&[3, 1]).slots, [0, 0, 1, 0].map(BackendId));
        assert_eq!(turns(&[2, 4, 2]).slots, [1, 0, 2, 1].map(BackendId));
    }

    #[test]
    fn backends_of_one_weight_take_a_slot_each_whatever_it_is() {
        assert_eq!(turns(&[250; 3]).slots, [0, 1, 2].map(BackendId));
        assert_eq!(Ring::round_length(&[250; 3]), Some(3));
    }

    #[test]
    fn some_of_the_backends_never_take_a_longer_round_than_all() {
        let weights = [12, 8, 6, 4, 3];
        let all = members(&weights);
        let longest = Ring::round_length(&weights).expect("it fits");
        for some in 0..1 << all.len() {
            let some = all.iter().filter(|one| some >> one.id.0 & 1 == 1).copied();
            let round = Ring::round_robin(&some.collect::<Vec<_>>(), &weights);
            assert!(round.slots.len() <= longest as usize, "{round:?}");
        }
    }

    #[test]
    fn a_round_that_is_too_long_is_hashed() {
        let mut weights = vec![256; 2000];
        weights[0] = 1;
        assert_eq!(Ring::round_length(&weights), None);
        let ring = turns(&weights);
        assert_eq!(ring.slots.len(), capacity_of(&weights) as usize);
    }

    #[test]
    fn the_size_goes_by_the_lightest_share_of_the_configured_backends() {
        assert_eq!(capacity_of(&[1; 4]), 1019);
        assert_eq!(capacity_of(&[7; 10]), 1019);
        assert_eq!(capacity_of(&[1; 11]), 4091);
        assert_eq!(capacity_of(&[1, 50]), 16_369);
        assert_eq!(capacity_of(&[1; 400]), 65_521);
        assert_eq!(capacity_of(&[1; 16_384]), 262_139);
        assert_eq!(capacity_of(&[]), 1019);
    }

    #[test]
    fn every_size_is_a_prime() {
        for size in RING_SIZES {
            let divisors = (2..).take_while(|divisor| divisor * divisor <= size);
            assert!(
                divisors.into_iter().all(|divisor| size % divisor != 0),
                "{size}"
            );
        }
    }

    #[test]
    fn a_backend_that_leaves_takes_few_slots_of_others_with_it() {
        let all = members(&[1; 8]);
        let before = Ring::maglev(&all, 1019);
        let after = Ring::maglev(&all[..7], 1019);
        let moved = before
            .slots
            .iter()
            .zip(&after.slots)
            .filter(|&(&old, new)| old.0 != 7 && old != *new)
            .count();
        assert!(moved * 100 < 1019 * 5, "{moved} slots of others moved");
    }

    #[test]
    fn the_order_of_the_backends_does_not_matter() {
        let mut turned = members(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let before = Ring::maglev(&turned, 4091);
        turned.reverse();
        assert_eq!(Ring::maglev(&turned, 4091), before);
    }

    #[test]
    fn without_backends_no_slot_is_in_use() {
        assert!(Ring::maglev(&[], 1019).slots.is_empty());
        assert!(Ring::round_robin(&[], &[1, 1]).slots.is_empty());
    }

    #[test]
    fn a_maglev_ring_uses_every_slot() {
        let ring = Ring::maglev(&members(&[5, 1, 256]), 1019);
        assert_eq!(ring.slots.len(), 1019);
        assert!(ring.slots.iter().all(|slot| slot.0 < 3));
    }
}
