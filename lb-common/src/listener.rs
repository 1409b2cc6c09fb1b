//! Which addresses and ports may be a service's: a filter that is asked before any table.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of the map `listeners`.
pub const LISTENER_WORDS: u32 = 1024;

/// A word of the map `listeners`: 64 places, with a bit for each in both halves. A place may be that of
/// several addresses and ports, so a bit that is set means perhaps, and one that is not means no.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Listeners {
    /// Places of services, whoever serves them.
    pub any: u64,
    /// Places of services that are steered in the kernel.
    pub steered: u64,
}

/// The place of an address and port: a word, and a bit in it.
#[must_use]
#[inline(always)]
pub const fn place(address: [u8; 4], port: u16) -> (u32, u32) {
    let bits = u32::from_ne_bytes(address) ^ (port as u32).wrapping_mul(0x9e37_79b1);
    let spread = bits.wrapping_mul(0x85eb_ca6b) >> 16;
    (spread >> 6, spread & 63)
}

impl Listeners {
    /// Whether a service may be at this bit.
    #[must_use]
    #[inline(always)]
    pub const fn has(&self, bit: u32) -> bool {
        self.any >> bit & 1 == 1
    }

    /// Whether a steered service may be at this bit.
    #[must_use]
    #[inline(always)]
    pub const fn steers(&self, bit: u32) -> bool {
        self.steered >> bit & 1 == 1
    }

    /// Sets the bit of a service.
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
