//! Settings of the packet path, which the agent writes and the XDP program reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{limits, tick::Tick};

/// Settings that hold for all connections: the only entry of the map `settings`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Settings {
    /// Secret key of the hash of connections: random, and constant while the connection table
    /// exists.
    pub secret: [u64; 2],
    /// Highest index of a bucket: the number of entries in the map `connections`, less one bucket.
    /// The number of entries is a power of two, so this index is also a mask.
    pub last_bucket: u32,
    /// Incremented when routes or neighbours change: a next hop that was looked up under another
    /// number is looked up again.
    pub generation: u32,
    /// Incremented when routes change: a connection that stored another number looks up its
    /// client's next hop again. The connection stores the low 16 bits.
    pub routes: u32,
    /// Ticks of the kernel's clock per second.
    pub hertz: u32,
    /// Number of the first line of sixteen source ports that NAT may claim.
    pub first_line: u16,
    /// Number of lines of sixteen source ports that NAT may claim; 0 until the agent has written
    /// the settings.
    pub lines: u16,
    /// [`Tick`] until which SYNs of new connections are dropped, if `hold` is set.
    pub held_until: u32,
    /// 1 while SYNs of new connections are dropped, so that clients retransmit them: see
    /// [`Settings::hold_new`].
    pub hold: u8,
    /// 1 while the kernel reports connections to the agent: see [`crate::record`].
    pub export: u8,
    /// 1 if a service keeps its clients' addresses, in which case any packet may be a backend's
    /// reply.
    pub dnat: u8,
    /// Always zero: padding.
    pub reserved: u8,
    /// Version of the layout of all maps: see [`crate::limits::LAYOUT`].
    pub layout: u32,
    /// Additional source addresses that backends see besides the service's own; zero if unused.
    pub source_addresses: [[u8; 4]; limits::SOURCE_ADDRESSES as usize],
    /// Number of lines of sixteen source ports that NAT may claim before a gap of lines that are
    /// reserved for the host.
    pub lines_before_gap: u16,
    /// Number of lines of sixteen source ports in the gap of lines that are reserved for the host.
    pub gap: u16,
    /// Always zero: padding.
    pub reserved_gap: u32,
    /// Always zero; reserved for later use.
    pub reserved_end: [u64; 3],
}

impl Settings {
    /// Whether a packet that would open a connection is dropped now, so that the client retransmits
    /// it.
    ///
    /// The map `settings` contains the time at which this hold ends: if an agent dies while it
    /// hands its role over to the peer, its host refuses new connections for at most
    /// [`limits::HOLD_SECONDS`].
    #[must_use]
    #[inline(always)]
    pub const fn hold_new(&self, now: Tick) -> bool {
        let left = self.held_until.wrapping_sub(now.0);
        self.hold != 0 && left != 0 && left <= limits::HOLD_SECONDS * self.hertz
    }

    /// Whether changes of connections are exported to the agent.
    #[must_use]
    #[inline(always)]
    pub const fn export_enabled(&self) -> bool {
        self.export != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_until(tick: u32) -> Settings {
        Settings {
            hertz: 250,
            held_until: tick,
            hold: 1,
            ..Settings::default()
        }
    }

    #[test]
    fn a_hold_ends_at_its_time_and_over_the_clock_s_end() {
        assert!(held_until(1000).hold_new(Tick(999)));
        assert!(!held_until(1000).hold_new(Tick(1000)));
        assert!(!held_until(1000).hold_new(Tick(1_000_000)));
        assert!(held_until(10).hold_new(Tick(u32::MAX - 10)));
    }

    #[test]
    fn a_hold_that_ends_later_than_any_may_is_none() {
        let longest = limits::HOLD_SECONDS * 250;
        assert!(held_until(longest + 1).hold_new(Tick(1)));
        assert!(!held_until(longest + 2).hold_new(Tick(1)));
    }
}
