//! Next hops: where packets go next. They stand in a map of their own, so that a neighbour that
//! changes its MAC address changes one entry and not that of every connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A next hop as a route look-up finds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The neighbour's MAC address.
    pub destination_mac: [u8; 6],
    /// The MAC address of our own interface.
    pub source_mac: [u8; 6],
    /// The number of that interface.
    pub interface: u32,
    /// The neighbour's IPv4 address: the gateway's, or the destination itself; zero where it is
    /// not known.
    pub neighbour: [u8; 4],
}

/// A next hop as connections share it: the value of the map `hops`. Four words of eight bytes, each
/// of which is read and written whole.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Hop {
    /// The neighbour's MAC address.
    pub destination_mac: [u8; 6],
    /// Counts on when the entry becomes that of another neighbour; 0 while it was never used.
    pub serial: u16,
    /// The MAC address of our own interface.
    pub source_mac: [u8; 6],
    /// Zero.
    pub reserved: u16,
    /// The number of that interface; 0 while no next hop is known.
    pub interface: u32,
    /// The generation in which it was looked up: see [`crate::settings::Settings::generation`].
    pub generation: u32,
    /// The neighbour's IPv4 address.
    pub neighbour: [u8; 4],
    /// Zero.
    pub reserved_end: u32,
}

const _CHECK: () = assert!(size_of::<Hop>() == 32, "two hops to a cache line");

/// Where the MAC address and the serial of a [`Hop`] stand, in words of eight bytes.
pub(crate) const WORD_MAC: usize = 0;

impl Hop {
    /// The entry for a next hop.
    #[must_use]
    #[inline(always)]
    pub const fn of(hop: &NextHop, serial: u16, generation: u32) -> Self {
        Self {
            destination_mac: hop.destination_mac,
            serial,
            source_mac: hop.source_mac,
            reserved: 0,
            interface: hop.interface,
            generation,
            neighbour: hop.neighbour,
            reserved_end: 0,
        }
    }

    /// Whether it leads somewhere, and was looked up in this generation.
    #[must_use]
    #[inline(always)]
    pub const fn is_current(&self, generation: u32) -> bool {
        self.interface != 0 && self.generation == generation
    }

    /// The entry in words.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u64; 4] {
        zerocopy::transmute!(*self)
    }
}

/// A connection's reference to the next hop of its client: one word of the connection.
///
/// It names the serials of both, so that a reference that is written late, after either has become
/// another's, is recognised and not followed.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct HopReference {
    /// Index in the map `hops`; 0 while none is known.
    pub hop: u16,
    /// The hop's serial when it was chosen.
    pub hop_serial: u16,
    /// The connection's serial when it was chosen.
    pub serial: u16,
    /// The low bits of [`crate::settings::Settings::routes`] when it was chosen.
    pub routes: u16,
}

impl HopReference {
    /// No next hop yet, for the connection with this serial.
    #[must_use]
    #[inline(always)]
    pub const fn none(serial: u16) -> Self {
        Self {
            hop: 0,
            hop_serial: 0,
            serial,
            routes: 0,
        }
    }

    /// The reference in a word.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// The reference that stands in a word.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }
}
