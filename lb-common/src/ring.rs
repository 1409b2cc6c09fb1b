//! How a ring is filled from the backends that take connections.

use crate::{backend::BackendId, limits::RING_SLOTS};

/// A backend with its share of the ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// What stands in the slots.
    pub id: BackendId,
    /// What decides which slots those are: the same on every host that balances over this backend.
    pub identity: ([u8; 4], u16),
    /// Its share, relative to the others; at least 1.
    pub weight: u16,
}

/// A filled ring.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ring {
    /// The slots in use, from the first on: at most [`RING_SLOTS`], none without a backend.
    pub slots: Vec<BackendId>,
}

impl Ring {
    /// A ring by Maglev (NSDI 2016, section 3.4): each backend claims its next preferred slot in
    /// turn, as often as its weight says, so that few slots change hands when a backend comes or
    /// goes.
    #[must_use]
    pub fn maglev(members: &[Member]) -> Self {
        let Some(heaviest) = members.iter().map(|member| member.weight).max() else {
            return Self { slots: Vec::new() };
        };
        let mut slots = vec![None; RING_SLOTS as usize];
        let mut claims: Vec<Claim> = members.iter().map(Claim::new).collect();
        let mut free = RING_SLOTS;
        while free > 0 {
            for claim in &mut claims {
                // A weight below the heaviest sits out its part of the rounds.
                claim.credit += u32::from(claim.member.weight);
                if claim.credit < u32::from(heaviest) || free == 0 {
                    continue;
                }
                claim.credit -= u32::from(heaviest);
                let slot = claim.next_free(&slots);
                slots[slot] = Some(claim.member.id);
                free -= 1;
            }
        }
        Self {
            slots: slots.into_iter().flatten().collect(),
        }
    }

    /// A ring to go round slot by slot: one round of smooth weighted round robin.
    #[must_use]
    pub fn turns(members: &[Member]) -> Self {
        let round: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
        if round == 0 || round > i64::from(RING_SLOTS) {
            // More than 16,381 shares: hashed slots come as near to the weights.
            return Self::maglev(members);
        }
        let mut credit = vec![0_i64; members.len()];
        let mut slots = Vec::new();
        for _ in 0..round {
            for (credit, member) in credit.iter_mut().zip(members) {
                *credit += i64::from(member.weight);
            }
            let richest = (0..members.len())
                .rev()
                .max_by_key(|&index| credit[index])
                .unwrap_or(0);
            credit[richest] -= round;
            slots.push(members[richest].id);
        }
        Self { slots }
    }

    /// How many slots are in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(RING_SLOTS)
    }
}

/// A backend on its way through the slots that it prefers.
struct Claim {
    member: Member,
    credit: u32,
    slot: usize,
    skip: usize,
}

impl Claim {
    fn new(member: &Member) -> Self {
        let hash = spread(member.identity);
        let slots = u64::from(RING_SLOTS);
        let place = |bits: u64| usize::try_from(bits).unwrap_or(0);
        Self {
            member: *member,
            credit: 0,
            slot: place((hash >> 32) % slots),
            skip: place((hash & 0xffff_ffff) % (slots - 1) + 1),
        }
    }

    /// The next slot in its order of preference that nobody has. There must be one.
    fn next_free(&mut self, slots: &[Option<BackendId>]) -> usize {
        loop {
            let slot = self.slot;
            self.slot = (self.slot + self.skip) % slots.len();
            if slots[slot].is_none() {
                return slot;
            }
        }
    }
}

/// The finalizer of SplitMix64 over the address.
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
                id,
                identity: ([10, 0, 0, 6 + id as u8], 80),
                weight,
            })
            .collect()
    }

    fn share(ring: &Ring, id: BackendId) -> f64 {
        let own = ring.slots.iter().filter(|&&slot| slot == id).count();
        own as f64 / ring.slots.len() as f64
    }

    #[test]
    fn shares_follow_the_weights() {
        for ring in [
            Ring::maglev(&members(&[1, 2, 1])),
            Ring::turns(&members(&[1, 2, 1])),
        ] {
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
        assert_eq!(Ring::turns(&members(&[1, 1, 1, 1])).slots, [0, 1, 2, 3]);
        assert_eq!(Ring::turns(&members(&[3, 1])).slots, [0, 0, 1, 0]);
    }

    #[test]
    fn a_backend_that_leaves_takes_few_slots_of_others_with_it() {
        let all = members(&[1; 8]);
        let before = Ring::maglev(&all);
        let after = Ring::maglev(&all[..7]);
        let moved = before
            .slots
            .iter()
            .zip(&after.slots)
            .filter(|&(&old, new)| old != 7 && old != *new)
            .count();
        assert!(
            moved * 100 < RING_SLOTS as usize * 5,
            "{moved} slots of others moved"
        );
    }

    #[test]
    fn the_order_of_the_backends_does_not_matter_much() {
        let mut turned = members(&[1; 8]);
        let before = Ring::maglev(&turned);
        turned.reverse();
        let after = Ring::maglev(&turned);
        let same = before
            .slots
            .iter()
            .zip(&after.slots)
            .filter(|(old, new)| old == new)
            .count();
        assert!(same * 100 > RING_SLOTS as usize * 80, "{same} slots stayed");
    }

    #[test]
    fn without_backends_no_slot_is_in_use() {
        assert_eq!(Ring::maglev(&[]).used(), 0);
        assert_eq!(Ring::turns(&[]).used(), 0);
    }

    #[test]
    fn a_maglev_ring_uses_every_slot() {
        assert_eq!(Ring::maglev(&members(&[5, 1, 256])).used(), RING_SLOTS);
    }
}
