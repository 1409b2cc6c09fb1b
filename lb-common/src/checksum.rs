//! Incremental update of the Internet checksum (RFC 1624).

/// The change of a checksum when words of the covered data change.
///
/// Computed once for each connection, and applied to each of its packets: equation 3 of RFC 1624,
/// `HC' = ~(~HC + ~m + m')`, with the sum over all changed words precomputed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delta(u32);

impl Delta {
    /// The change of a checksum when the data that it covers stay as they are.
    pub const ZERO: Self = Self(0);

    /// A decrement of the TTL in the IPv4 header: the word of TTL and protocol falls by 0x0100, so
    /// `~m + m'` is this constant for every TTL.
    pub const ONE_HOP: Self = Self(0xfeff);

    /// Returns this change of a checksum combined with the change that a 16-bit word of the data
    /// makes, from `from` to `to`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, from: u16, to: u16) -> Self {
        Self(self.0 + (!from) as u32 + to as u32)
    }

    /// Returns this change of a checksum combined with the change that an IPv4 address in the data
    /// makes, from `from` to `to`.
    #[must_use]
    #[inline(always)]
    pub const fn address(self, from: [u8; 4], to: [u8; 4]) -> Self {
        self.word(high(from), high(to)).word(low(from), low(to))
    }

    /// Returns the change of a checksum folded to 16 bits, as stored in a connection. For packets
    /// in the other direction, the change is the one's complement of this one.
    #[must_use]
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }
}

/// Returns a checksum after a change, given as [`Delta::folded`] returns it.
#[must_use]
#[inline(always)]
pub const fn updated(checksum: u16, delta: u16) -> u16 {
    !fold((!checksum) as u32 + delta as u32)
}

/// Returns the checksum of an IPv4 header after a change, given as [`Delta::folded`] returns it,
/// and a decrement of the TTL.
#[must_use]
#[inline(always)]
pub const fn hop_less(checksum: u16, delta: u16) -> u16 {
    !fold((!checksum) as u32 + delta as u32 + Delta::ONE_HOP.0)
}

#[inline(always)]
const fn high(address: [u8; 4]) -> u16 {
    u16::from_be_bytes([address[0], address[1]])
}

#[inline(always)]
const fn low(address: [u8; 4]) -> u16 {
    u16::from_be_bytes([address[2], address[3]])
}

/// Folds the sum of a checksum to 16 bits by adding the carries, twice because the first addition
/// may carry again.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computes the Internet checksum from all words of the data (RFC 1071).
    fn computed(words: &[u16]) -> u16 {
        let mut sum: u64 = words.iter().map(|&word| u64::from(word)).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded")
    }

    #[test]
    fn the_example_of_rfc_1624_comes_out() {
        // The example in section 4 of RFC 1624 has HC = 0xDD2F, m = 0x5555, m' = 0x3285, and HC' =
        // 0x0000.
        assert_eq!(
            updated(0xdd2f, Delta::ZERO.word(0x5555, 0x3285).folded()),
            0x0000
        );
    }

    #[test]
    fn a_hop_less_is_the_same_change_for_every_ttl() {
        for ttl in 1..=255_u16 {
            let from = ttl << 8 | 6;
            let delta = Delta::ZERO.word(from, from - 0x0100);
            assert_eq!(delta.folded(), Delta::ONE_HOP.folded());
        }
    }

    proptest! {
        #[test]
        fn the_way_back_is_the_complement(
            mut words in prop::collection::vec(any::<u16>(), 2..40),
            to in any::<u16>(),
        ) {
            words[0] |= 0x4500;
            let before = computed(&words);
            let delta = Delta::ZERO.word(words[1], to).folded();
            let there = updated(before, delta);
            prop_assert_eq!(updated(there, !delta), before);
        }

        #[test]
        fn the_update_equals_the_sum_from_scratch(
            mut words in prop::collection::vec(any::<u16>(), 2..40),
            from_start in any::<prop::sample::Index>(),
            to in any::<u16>(),
        ) {
            // Version and length make the first word of a real IPv4 header other than zero.
            words[0] |= 0x4500;
            let before = computed(&words);
            let index = 1 + from_start.index(words.len() - 1);
            let delta = Delta::ZERO.word(words[index], to).folded();
            words[index] = to;
            prop_assert_eq!(updated(before, delta), computed(&words));
        }
    }
}
