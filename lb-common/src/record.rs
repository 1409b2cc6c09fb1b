//! What hosts tell each other of a connection, so that either can carry it on: nothing in it is one
//! host's own, such as its clock, its numbers for backends and interfaces, or its next hops.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    flow::{FROM_PEER, Flow, FlowKey, NextHop, Tick},
    tcp::State,
    traffic::Direction,
};

/// A connection that is steered: what the kernel writes into the ring `flow_events`, and what goes
/// to the peer.
///
/// The address that the backend sees is the service's own, so that its answers come to whichever
/// host has that address; only the port has to be told.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C, align(8))]
pub struct Record {
    /// The key of the client's packets: the client, and the service that it called.
    pub client: FlowKey,
    /// The backend's IPv4 address.
    pub backend: [u8; 4],
    /// The backend's port.
    pub backend_port: u16,
    /// The port that the backend sees.
    pub source_port: u16,
    /// A [`State`] as its number.
    pub state: u8,
    /// Zero.
    pub reserved: u8,
    /// Seconds since the client's last packet, as far as the number goes.
    pub idle: u16,
    /// Zero.
    pub filling: u32,
}

impl Record {
    /// The connection whose packets arrive as `there` from the client and as `back` from the
    /// backend.
    #[must_use]
    #[inline(always)]
    pub const fn of(there: &FlowKey, back: &FlowKey, state: State) -> Self {
        Self {
            client: *there,
            backend: back.source,
            backend_port: back.source_port,
            source_port: back.destination_port,
            state: state.0,
            reserved: 0,
            idle: 0,
            filling: 0,
        }
    }

    /// The connection that a flow of its client's packets is one half of.
    #[must_use]
    pub fn of_flow(key: &FlowKey, flow: &Flow, idle: u32) -> Self {
        Self {
            idle: u16::try_from(idle).unwrap_or(u16::MAX),
            ..Self::of(key, &flow.partner(key.protocol), State(flow.state))
        }
    }

    /// The key of the backend's packets.
    #[must_use]
    pub const fn back(&self) -> FlowKey {
        FlowKey {
            source: self.backend,
            destination: self.client.destination,
            source_port: self.backend_port,
            destination_port: self.source_port,
            protocol: self.client.protocol,
        }
    }

    /// Both flows of the connection as a host that has not seen a packet of it holds them, the
    /// client's first. Each looks its next hop up when its first packet comes.
    #[must_use]
    pub fn flows(&self, backend: u16, mark: u32, now: Tick, hertz: u32) -> [(FlowKey, Flow); 2] {
        let back = self.back();
        let seen = Tick(now.0.wrapping_sub(u32::from(self.idle).wrapping_mul(hertz)));
        let flow = |key: FlowKey, leaving: FlowKey, direction| {
            let hop = NextHop::UNKNOWN;
            let mut flow =
                Flow::begun(&leaving, &hop, FROM_PEER | mark, (backend, direction), seen);
            flow.state = self.state;
            flow.rewrites(&key);
            (key, flow)
        };
        [
            flow(self.client, back.turned(), Direction::In),
            flow(back, self.client.turned(), Direction::Out),
        ]
    }
}

const _CHECK: () = assert!(
    size_of::<Record>() == 32,
    "a record has no padding that the kernel could leave unset"
);
