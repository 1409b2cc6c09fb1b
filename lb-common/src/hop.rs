//! Next hops of connections. They are in the map `hops` instead of in each connection, so a
//! neighbour's new MAC address changes one entry rather than every connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A next hop towards a destination, as a route lookup returns it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The neighbour's MAC address.
    pub destination_mac: [u8; 6],
    /// MAC address of the outgoing interface.
    pub source_mac: [u8; 6],
    /// Index of the outgoing interface.
    pub interface: u32,
    /// IPv4 address of the neighbour: the gateway, or the destination itself; zero if not known.
    pub neighbour: [u8; 4],
}

/// A next hop that connections share: the value of the map `hops`. Four words of eight bytes, each
/// of which is read and written atomically.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Hop {
    /// The neighbour's MAC address.
    pub destination_mac: [u8; 6],
    /// Serial number of the next hop in this entry, incremented when the entry is reused for
    /// another neighbour; 0 while the entry is unused.
    pub serial: u16,
    /// MAC address of the outgoing interface.
    pub source_mac: [u8; 6],
    /// Always zero: padding.
    pub reserved: u16,
    /// Index of the outgoing interface; 0 while no next hop is known.
    pub interface: u32,
    /// Value of the counter [`crate::settings::Settings::generation`] when the next hop was looked
    /// up. The counter is incremented when routes or neighbours change, so a next hop with another
    /// value is looked up again.
    pub generation: u32,
    /// The neighbour's IPv4 address.
    pub neighbour: [u8; 4],
    /// Always zero: padding.
    pub reserved_end: u32,
}

const _CHECK: () = assert!(size_of::<Hop>() == 32, "two hops to a cache line");

/// Index of the word of a [`Hop`] that has the destination MAC address and the serial
/// number.
pub(crate) const WORD_MAC: usize = 0;

impl Hop {
    /// Builds the entry of the map `hops` for a next hop.
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

    /// Whether a next hop is known, and neither routes nor neighbours have changed since its
    /// lookup. `generation` is the present value of [`crate::settings::Settings::generation`].
    #[must_use]
    #[inline(always)]
    pub const fn is_current(&self, generation: u32) -> bool {
        self.interface != 0 && self.generation == generation
    }

    /// Returns the four words of the entry of the map `hops`.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u64; 4] {
        zerocopy::transmute!(*self)
    }
}

/// A connection's reference to the next hop of its client: one word of the connection.
///
/// The reference contains the serial numbers of the next hop and of the connection, so that a
/// reference that is written late, after the reuse of either entry, is detected and not followed.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct HopReference {
    /// Index of the next hop in the map `hops`; 0 if none is known.
    pub hop: u16,
    /// [`Hop::serial`] when the next hop was chosen: if the entry of the map `hops` now has another
    /// serial number, it holds another next hop.
    pub hop_serial: u16,
    /// [`crate::connection::Connection::serial`] when the next hop was chosen: if the entry of the
    /// connection now has another serial number, it holds another connection.
    pub serial: u16,
    /// Low 16 bits of the counter [`crate::settings::Settings::routes`] when the next hop was
    /// chosen. The counter is incremented when routes change: if it now has another value, the next
    /// hop is looked up again. 0 if no route was looked up yet.
    pub routes: u16,
}

impl HopReference {
    /// Returns the reference of a connection for whose client no next hop is known. `serial` is the
    /// connection's [`crate::connection::Connection::serial`].
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

    /// Packs the reference to a next hop into a word of a connection.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// Unpacks a reference to a next hop from a word of a connection.
    #[must_use]
    #[inline(always)]
    pub const fn of_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }
}
