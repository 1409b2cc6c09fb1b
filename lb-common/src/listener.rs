//! A filter on the addresses and ports of services, consulted before any other table.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of words in the map `listeners`.
pub const LISTENER_WORDS: u32 = 1024;

/// A word of the map `listeners`, with two bits for each of 64 hash values of an address and port.
/// As with a Bloom filter, a bit that is set may be a false positive, but a bit that is not set
/// proves that there is no service.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Listeners {
    /// Bits of the addresses and ports of all services, whether steered in the kernel or served by
    /// the agent.
    pub any: u64,
    /// Bits of the addresses and ports of the services that are steered in the kernel.
    pub steered: u64,
}

/// Returns the index of the word of the map `listeners` for an address and port, and the number of
/// the bit in that word.
#[must_use]
#[inline(always)]
pub const fn place(address: [u8; 4], port: u16) -> (u32, u32) {
    let bits = u32::from_ne_bytes(address) ^ (port as u32).wrapping_mul(0x9e37_79b1);
    let spread = bits.wrapping_mul(0x85eb_ca6b) >> 16;
    (spread >> 6, spread & 63)
}

impl Listeners {
    /// Whether there may be a service whose address and port have this bit.
    #[must_use]
    #[inline(always)]
    pub const fn has(&self, bit: u32) -> bool {
        self.any >> bit & 1 == 1
    }

    /// Whether there may be a service, steered in the kernel, whose address and port have this bit.
    #[must_use]
    #[inline(always)]
    pub const fn steers(&self, bit: u32) -> bool {
        self.steered >> bit & 1 == 1
    }

    /// Sets the bit of a service's address and port; `steered` tells whether the kernel steers that
    /// service.
    pub const fn add(&mut self, bit: u32, steered: bool) {
        self.any |= 1 << bit;
        if steered {
            self.steered |= 1 << bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_spread_over_the_whole_filter() {
        let mut taken = std::collections::HashSet::new();
        for host in 0..=255_u8 {
            for port in [80, 443, 8080, 8443] {
                let (word, bit) = place([172, 31, 0, host], port);
                assert!(word < LISTENER_WORDS && bit < 64);
                taken.insert((word, bit));
            }
        }
        assert!(taken.len() > 1000, "{} of 1,024 places differ", taken.len());
    }
}
