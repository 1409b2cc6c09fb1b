//! Rings: which backend gets a new connection of a service, and the layout of the rings in memory.
//!
//! A ring is one inner map of the map `rings`: an array of words of eight bytes that the agent maps
//! into its memory. Word 0 is the [`Head`]: the range of slots in use. The other words hold four
//! slots each, with the index of a backend in each slot.
//!
//! The map has room for two rings of the maximum size of the service, its `capacity`. The agent
//! fills the unused half and then stores the head atomically: a packet that has read the head finds
//! all slots of that half as they were when the head was stored. Before the agent fills the other
//! half again, it waits until no run of the XDP program that may still read that half is in
//! progress.

#[cfg(feature = "host")]
mod fill;

#[cfg(feature = "host")]
pub use fill::{Member, Ring, capacity_of};

use crate::{backend::BackendId, limits};

/// Flags of the inner maps (linux/bpf.h): `BPF_F_MMAPABLE`, and `BPF_F_INNER_MAP`, by which the
/// inner maps of `rings` may differ in size (Linux 5.10).
pub const MAP_FLAGS: u32 = 1 << 10 | 1 << 12;

/// Number of slots in a word of a ring, which is an inner map of `rings`.
const SLOTS_IN_A_WORD: u32 = 4;

/// Number of bits of a slot of a ring, which holds the index of a backend.
const SLOT_BITS: u32 = 16;

/// The range of a ring's slots that are in use: word 0 of an inner map of `rings`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Index of the first slot of the ring that is in use.
    pub first: u32,
    /// Number of slots of the ring that are in use; 0 if no backend accepts new connections.
    pub slots: u32,
}

impl Head {
    /// Unpacks the head of a ring, which is the range of slots in use, from word 0 of the ring.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    pub const fn of_word(word: u64) -> Self {
        Self {
            first: (word >> 32) as u32,
            slots: word as u32,
        }
    }

    /// Packs the head of a ring, which is the range of slots in use, into a word: `first` in the
    /// upper 32 bits, `slots` in the lower.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.first as u64) << 32 | self.slots as u64
    }

    /// Returns the slot with this number among those in use, modulo their number; `None` if no slot
    /// is in use.
    #[must_use]
    #[inline(always)]
    pub const fn pick(self, number: u32) -> Option<Slot> {
        if self.slots == 0 {
            return None;
        }
        Some(Slot(self.first.wrapping_add(number % self.slots)))
    }
}

/// Index of a slot in an inner map of `rings`, counted over both halves of the ring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(u32);

impl Slot {
    /// Returns the slot with the index `number` of an inner map.
    #[must_use]
    pub const fn at(number: u32) -> Self {
        Self(number)
    }

    /// Returns the index of the word of the ring that contains the slot.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        1 + self.0 / SLOTS_IN_A_WORD
    }

    /// Returns the backend in the slot, given the word that contains the slot.
    #[must_use]
    #[inline(always)]
    pub const fn backend_in(self, word: u64) -> BackendId {
        let bits = SLOT_BITS * (self.0 % SLOTS_IN_A_WORD);
        BackendId((word >> bits) as u16)
    }
}

/// Returns the number of words in an inner map whose halves have `capacity` slots each.
#[must_use]
pub const fn words_of(capacity: u32) -> u32 {
    1 + 2 * words_of_half(capacity)
}

/// Number of words in one half of a ring whose halves have `capacity` slots each. No word belongs
/// to both halves.
#[must_use]
pub const fn words_of_half(capacity: u32) -> u32 {
    capacity.div_ceil(SLOTS_IN_A_WORD)
}

/// Returns the index of the first slot of half 0 or half 1 of a ring.
#[must_use]
pub const fn first_of_half(capacity: u32, half: u32) -> u32 {
    half * words_of_half(capacity) * SLOTS_IN_A_WORD
}

/// Packs up to four backends into a word of a ring, the first in the lowest bits.
#[must_use]
pub fn packed(backends: &[BackendId]) -> u64 {
    let slots = backends.iter().zip(0..SLOTS_IN_A_WORD);
    slots.fold(0, |word, (backend, place)| {
        word | u64::from(backend.0) << (SLOT_BITS * place)
    })
}

/// Maximum number of backends in a word of a ring.
pub const BACKENDS_IN_A_WORD: usize = SLOTS_IN_A_WORD as usize;

const _CHECK: () = assert!(
    limits::BACKENDS <= 1 << SLOT_BITS,
    "the number of every backend fits into a slot"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_its_word_says() {
        let head = Head {
            first: 0x1234_5678,
            slots: 0x9abc_def0,
        };
        assert_eq!(Head::of_word(head.word()), head);
    }

    #[test]
    fn numbers_go_round_the_slots_in_use_and_reach_no_other() {
        let first = first_of_half(5, 1);
        let head = Head { first, slots: 3 };
        let mut memory = [0_u64; words_of(5) as usize];
        memory[head.pick(0).expect("in use").word() as usize] =
            packed(&[7, 8, 9, 10].map(BackendId));
        let picked = |number| {
            let slot = head.pick(number).expect("in use");
            slot.backend_in(memory[slot.word() as usize])
        };
        assert_eq!([0, 1, 2, 3, 4].map(picked), [7, 8, 9, 7, 8].map(BackendId));
        assert_eq!(head.pick(u32::MAX), head.pick(u32::MAX % 3));
        assert_eq!(Head { first, slots: 0 }.pick(1), None);
    }

    #[test]
    fn the_halves_share_no_word_and_fit() {
        for capacity in [1, 2, 3, 4, 5, 1019, 4091] {
            let last = |half| Head {
                first: first_of_half(capacity, half),
                slots: capacity,
            };
            let word = |half: u32, number| last(half).pick(number).expect("in use").word();
            assert_eq!(word(0, 0), 1);
            assert!(word(0, capacity - 1) < word(1, 0));
            assert!(word(1, capacity - 1) < words_of(capacity), "{capacity}");
        }
    }
}
