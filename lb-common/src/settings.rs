//! What the agent tells the kernel about everything at once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{limits, tick::Tick};

/// The only entry of the map `settings`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Settings {
    /// The secret that connections are spread by: random, and the table's for as long as it exists.
    pub secret: [u64; 2],
    /// Entries of the map `connections`, less one bucket: the highest index that a bucket begins at. A power of
    /// two of entries, so that this is a mask.
    pub last_bucket: u32,
    /// Grows whenever routes or neighbours change: a next hop that carries another number is looked
    /// up again.
    pub generation: u32,
    /// Grows whenever routes change: a connection that carries another number looks for its
    /// client's next hop again. Its low 16 bits stand in the connection.
    pub routes: u32,
    /// Ticks of the kernel's clock in a second.
    pub hertz: u32,
    /// The first line of sixteen source ports that NAT may claim in.
    pub first_line: u16,
    /// How many lines there are that NAT may claim in; 0 before the agent has spoken.
    pub lines: u16,
    /// Until which [`Tick`] new connections are held, where `hold` is set.
    pub held_until: u32,
    /// 1 while no new connection may begin: see [`Settings::hold_new`].
    pub hold: u8,
    /// 1 while the agent wants to be told of connections: see [`crate::record`].
    pub export: u8,
    /// 1 where a service keeps its clients' addresses: then any packet may be a backend's answer.
    pub dnat: u8,
    /// Zero.
    pub reserved: u8,
    /// Layout of all maps: see [`crate::limits::LAYOUT`].
    pub layout: u32,
    /// Further addresses that backends see, after the service's own; zero where there is none.
    pub source_addresses: [[u8; 4]; limits::SOURCE_ADDRESSES as usize],
    /// Lines that come before a gap of lines which the host keeps for itself.
    pub lines_before_gap: u16,
    /// How many lines the gap has.
    pub gap: u16,
    /// Zero.
    pub reserved_gap: u32,
    /// Zero: room for what comes next.
    pub reserved_end: [u64; 3],
}

impl Settings {
    /// Whether a packet that would begin a connection is to be held back at this moment.
    ///
    /// The end stands in the map, and is near: an agent that dies in a hand-over leaves its host
    /// deaf to new connections for [`limits::HOLD_SECONDS`] at the most.
    #[must_use]
    #[inline(always)]
    pub const fn hold_new(&self, now: Tick) -> bool {
        let left = self.held_until.wrapping_sub(now.0);
        self.hold != 0 && left != 0 && left <= limits::HOLD_SECONDS * self.hertz
    }

    /// Whether connections are to be told of.
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
