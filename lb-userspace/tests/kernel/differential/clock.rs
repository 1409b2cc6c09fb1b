//! A replica of the kernel's clock, for the copies of the kernel's BPF maps in the memory of the
//! test.

use std::time::Duration;

use aya::maps::{Array, MapData};
use lb_common::{
    connection::Connection,
    host::{HostTables, TcpPacket},
    tick::Tick,
};

use crate::{
    concurrent::pinned,
    stage::{Stage, VIP},
};

/// The kernel's clock in ticks, which begins at an arbitrary number.
pub(super) struct Clock {
    tick: Duration,
    ticks: u32,
    /// Time on the kernel's coarse clock, which is constant within a tick.
    coarse: Duration,
    /// Time at which the current tick began; `None` if its beginning was not observed.
    began: Option<Duration>,
    looked: Duration,
}

impl Clock {
    pub(super) fn new(hertz: u32) -> Self {
        Self {
            tick: Duration::from_secs(1) / hertz,
            ticks: 1_000_000,
            coarse: Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE),
            began: None,
            looked: Duration::ZERO,
        }
    }

    fn time(clock: nix::time::ClockId) -> Duration {
        nix::time::clock_gettime(clock).expect("the time").into()
    }

    /// Returns whether another tick has begun since the last call of [`Self::early_in_a_tick`].
    pub(super) fn has_moved(&self) -> bool {
        Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE) != self.coarse
    }

    /// Returns the current tick, early enough in it for a packet to be handled within the same
    /// tick: which connection is the oldest depends on the tick. A tick is slightly longer or
    /// shorter than its nominal length while the system's time is being corrected, so only the
    /// coarse clock shows when a tick begins.
    pub(super) fn early_in_a_tick(&mut self) -> Tick {
        loop {
            let coarse = Self::time(nix::time::ClockId::CLOCK_MONOTONIC_COARSE);
            let now = Self::time(nix::time::ClockId::CLOCK_MONOTONIC);
            if coarse != self.coarse {
                let passed = coarse - self.coarse + self.tick / 2;
                let passed = passed.as_nanos() / self.tick.as_nanos();
                self.ticks = self.ticks.wrapping_add(passed as u32);
                self.coarse = coarse;
                self.began = (now - self.looked < self.tick / 8).then_some(now);
            }
            self.looked = now;
            if self
                .began
                .is_some_and(|began| now - began < self.tick * 3 / 4)
            {
                return Tick(self.ticks);
            }
            std::hint::spin_loop();
        }
    }
}

/// The times that the kernel has recorded in the connection table. If this thread was preempted
/// between reading the clock and feeding a packet, these times show when the packet was handled.
pub(super) struct Seen(Array<MapData, [u8; size_of::<Connection>()]>);

impl Seen {
    pub(super) fn of_table() -> Self {
        Self(pinned("maps/connections"))
    }

    /// Returns the times of the last packets of all connections, in ticks.
    fn times(&self) -> impl Iterator<Item = u32> {
        let connections = self
            .0
            .iter()
            .map(|entry| -> Connection { zerocopy::transmute!(entry.expect("an entry")) });
        connections
            .filter(|connection| connection.state().is_live())
            .map(|connection| connection.seen)
    }

    /// Returns the latest time of a packet that the kernel has recorded, or `now` if that is later.
    pub(super) fn last_after(&self, now: Tick) -> Tick {
        let ahead = self
            .times()
            .map(|seen| seen.wrapping_sub(now.0).cast_signed());
        let ahead = ahead.max().unwrap_or(0).max(0);
        Tick(now.0.wrapping_add(ahead.cast_unsigned()))
    }

    /// Opens a first connection in the kernel's tables and in the test's own tables, and sets the
    /// clock of the latter to the time that the kernel recorded for it: the time for which a source
    /// port rests after a connection counts whole seconds of that clock.
    pub(super) fn set_clock(&self, clock: &mut Clock, stage: &Stage, host: &mut HostTables) {
        let key = TcpPacket::key(([198, 51, 100, 9], 40_000), (VIP, 80));
        let mut packet = TcpPacket::new(key, 0x02).bytes();
        clock.early_in_a_tick();
        stage.feed(&packet, &mut Vec::new());
        clock.ticks = self.times().next().expect("the first connection");
        host.now = Tick(clock.ticks);
        host.steer(&mut packet);
    }
}
