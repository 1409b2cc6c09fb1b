//! What the agent tells the kernel about everything at once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::Tick, limits};

/// The only entry of the map `settings`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Settings {
    /// Grows whenever routes, neighbours or backends change: a flow that carries another number
    /// looks at them again.
    pub generation: u32,
    /// The first of NAT's source ports.
    pub first_source_port: u16,
    /// How many there are; 0 before the agent has spoken.
    pub source_ports: u16,
    /// Ticks of the kernel's clock in a second.
    pub hertz: u32,
    /// Until which [`Tick`] new connections are held, where `hold` is set.
    pub held_until: u32,
    /// 1 while no new connection may begin: see [`Settings::hold_new`].
    pub hold: u8,
    /// 1 while the agent wants to be told of connections: see [`crate::record`].
    pub sync: u8,
    /// Zero.
    pub reserved: [u8; 2],
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
    pub const fn tells(&self) -> bool {
        self.sync != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn held_until(tick: u32) -> Settings {
        Settings {
            generation: 1,
            first_source_port: 10_240,
            source_ports: 1,
            hertz: 250,
            held_until: tick,
            hold: 1,
            sync: 0,
            reserved: [0; 2],
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
