//! Flows: one direction of one connection each, with the rewrite that its packets get.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{checksum::Delta, limits, service::ServiceKey, tcp::State, traffic::Direction};

/// What tells flows apart, as it stands in an arriving packet: the key of the map `flows_v4`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct FlowKey {
    /// IPv4 address of the sender.
    pub source: [u8; 4],
    /// IPv4 address of the receiver.
    pub destination: [u8; 4],
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// IP protocol number; a word wide, so that the key has no gap.
    pub protocol: u32,
}

const _CHECK: () = {
    assert!(core::mem::offset_of!(Flow, backend) == 40 && core::mem::offset_of!(Flow, seen) == 44);
    assert!(
        size_of::<FlowKey>() == 16,
        "the key of a flow is sixteen bytes"
    );
    assert!(
        size_of::<Flow>() == 48,
        "a flow has no padding that the kernel could leave unset"
    );
};

impl FlowKey {
    /// The key of packets the other way.
    #[must_use]
    #[inline(always)]
    pub const fn turned(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// The service that a packet of this flow would be for.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a protocol number has eight bits"
    )]
    pub const fn service(&self) -> ServiceKey {
        ServiceKey {
            address: self.destination,
            port: self.destination_port,
            protocol: self.protocol as u16,
        }
    }

    /// The flow's place in the maps `recent` and `epochs`: one multiplication (Fibonacci hashing).
    #[must_use]
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        let addresses = u32::from_ne_bytes(self.source) ^ u32::from_ne_bytes(self.destination);
        let ports = (self.source_port as u32) << 16 | self.destination_port as u32;
        let spread = (addresses.rotate_left(7) ^ ports).wrapping_mul(0x9e37_79b1);
        spread >> (32 - limits::RECENT_FLOWS.trailing_zeros())
    }
}

/// Set in the generation of a flow that came from the peer, while none of its packets has come
/// here: no generation of this host's own has it. The other bits are the importer's.
pub const FROM_PEER: u32 = 1 << 31;

/// One direction of a connection: the value of the map `flows_v4`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Flow {
    /// Source address that its packets leave with.
    pub source: [u8; 4],
    /// Destination address that its packets leave with.
    pub destination: [u8; 4],
    /// Source port that its packets leave with.
    pub source_port: u16,
    /// Destination port that its packets leave with.
    pub destination_port: u16,
    /// What changes in the TCP checksum: addresses and ports.
    pub segment_delta: u16,
    /// What changes in the IPv4 checksum: addresses, and one hop less.
    pub address_delta: u16,
    /// The next hop.
    pub destination_mac: Mac,
    /// Our own interface towards it.
    pub source_mac: Mac,
    /// The number of that interface; 0 while no next hop is known.
    pub interface: u32,
    /// The generation in which the next hop was looked up; with [`FROM_PEER`] none was.
    pub generation: u32,
    /// The backend, as a number of the map `backends`.
    pub backend: u16,
    /// A [`Direction`] as its number.
    pub direction: u8,
    /// A [`State`] as its number.
    pub state: u8,
    /// When the last packet came, as a [`Tick`]. With the three fields before it, this is an
    /// aligned word of eight bytes: see [`Flow::stamp`].
    pub seen: u32,
}

/// A flow as one CPU remembers it: the value of the map `recent`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Recent {
    /// Whose it is.
    pub key: FlowKey,
    /// The flow; `seen` is when it was remembered.
    pub flow: Flow,
    /// The epoch of its slot when it was read from the table.
    pub epoch: u32,
    /// Zero.
    pub reserved: u32,
}

/// A MAC address that begins at a word of its own: the verifier wants what is on the stack aligned.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(4))]
pub struct Mac {
    /// The address.
    pub octets: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

impl Mac {
    /// The address with these octets.
    #[must_use]
    #[inline(always)]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self {
            octets,
            reserved: [0; 2],
        }
    }
}

/// Where packets go next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop {
    /// The neighbour's MAC address.
    pub destination_mac: Mac,
    /// The MAC address of our own interface.
    pub source_mac: Mac,
    /// The number of that interface.
    pub interface: u32,
}

impl NextHop {
    /// None that is known yet.
    pub(crate) const UNKNOWN: Self = Self {
        destination_mac: Mac::new([0; 6]),
        source_mac: Mac::new([0; 6]),
        interface: 0,
    };
}

impl Flow {
    /// A flow that begins now: its packets leave as `leaving` by `hop`, to or from `backend`.
    #[inline(always)]
    pub(crate) const fn begun(
        leaving: &FlowKey,
        hop: &NextHop,
        generation: u32,
        (backend, direction): (u16, Direction),
        now: Tick,
    ) -> Self {
        Self {
            source: leaving.source,
            destination: leaving.destination,
            source_port: leaving.source_port,
            destination_port: leaving.destination_port,
            segment_delta: 0,
            address_delta: 0,
            destination_mac: hop.destination_mac,
            source_mac: hop.source_mac,
            interface: hop.interface,
            generation,
            backend,
            direction: direction as u8,
            state: State::OPENING.0,
            seen: now.0,
        }
    }

    /// The flow of the other direction, by the key that its packets arrive with.
    #[must_use]
    #[inline(always)]
    pub const fn partner(&self, protocol: u32) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
        }
    }

    /// Which way its packets go.
    #[must_use]
    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        if self.direction == Direction::In as u8 {
            Direction::In
        } else {
            Direction::Out
        }
    }

    /// The word of eight bytes that changes with every change of hands or state: backend,
    /// direction, state and time, as they stand in memory. BPF compares and exchanges no less.
    #[must_use]
    #[inline(always)]
    pub const fn stamp(&self) -> u64 {
        let ([b0, b1], [s0, s1, s2, s3]) = (self.backend.to_ne_bytes(), self.seen.to_ne_bytes());
        u64::from_ne_bytes([b0, b1, self.direction, self.state, s0, s1, s2, s3])
    }

    /// Whether it has been idle for longer than its state allows, where `hertz` ticks are a second.
    #[must_use]
    #[inline(always)]
    pub const fn is_gone(&self, now: Tick, hertz: u32) -> bool {
        now.since(Tick(self.seen)) > State(self.state).timeout() * hertz
    }

    /// Whether it has been idle for so long that another connection may have its source port.
    #[must_use]
    #[inline(always)]
    pub const fn lends_its_port(&self, now: Tick, hertz: u32) -> bool {
        now.since(Tick(self.seen)) > State(self.state).port_rest() * hertz
    }

    /// Sets the rewrite of a packet that arrives with `key`, its checksum changes too.
    #[inline(always)]
    pub(crate) const fn rewrites(&mut self, key: &FlowKey) {
        let addresses = Delta::ZERO
            .address(key.source, self.source)
            .address(key.destination, self.destination);
        let segment = addresses
            .word(key.source_port, self.source_port)
            .word(key.destination_port, self.destination_port);
        self.address_delta = addresses.plus(Delta::ONE_HOP).folded();
        self.segment_delta = segment.folded();
    }

    /// The next hop, where one is known.
    #[must_use]
    #[inline(always)]
    pub(crate) const fn hop(&self) -> Option<NextHop> {
        if self.interface == 0 {
            return None;
        }
        Some(NextHop {
            destination_mac: self.destination_mac,
            source_mac: self.source_mac,
            interface: self.interface,
        })
    }

    /// Takes another next hop.
    #[inline(always)]
    pub const fn goes_by(&mut self, hop: &NextHop, generation: u32) {
        self.destination_mac = hop.destination_mac;
        self.source_mac = hop.source_mac;
        self.interface = hop.interface;
        self.generation = generation;
    }
}

/// A moment on the kernel's clock: the low 32 bits of its jiffies, which cost one load, where any
/// call for the time would cost as much as all the rest of steering. How many make a second is in
/// the settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks from `earlier` to this moment; none if `earlier` lies a little ahead, as it does when
    /// another CPU has just written it. The clock goes round in 49 days at 1,000 Hz: a flow that
    /// was last seen a whole round ago looks fresh for a minute.
    #[must_use]
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let span = self.0.wrapping_sub(earlier.0);
        if span < u32::MAX - A_LITTLE { span } else { 0 }
    }
}

/// Ticks that one CPU may be ahead of another: far more than they ever are.
const A_LITTLE: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_right_over_the_clock_s_end_and_for_weeks() {
        assert_eq!(Tick(5).since(Tick(u32::MAX - 4)), 10);
        assert_eq!(Tick(3_000_000_000).since(Tick(0)), 3_000_000_000);
        assert_eq!(
            Tick(1000).since(Tick(1001)),
            0,
            "another CPU was a tick ahead"
        );
    }
}
