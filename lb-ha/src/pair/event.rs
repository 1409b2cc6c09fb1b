//! The inputs and outputs of the pair state machine.

use std::{net::IpAddr, time::Duration};

use super::{Heartbeat, PairMessage, Reason, Refusal};
use crate::{
    Time,
    elastic::{Answer, Call, Owner},
    vrrp::{self, Cause, Heard, State},
};

/// The settings of a host of the pair.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings of the virtual router.
    pub vrrp: vrrp::Settings,
    /// IP address of the peer.
    pub peer: IpAddr,
    /// Whether a link to the peer's agent is configured.
    pub link: bool,
    /// What decides which of the two hosts has the address that moves between them.
    pub arbiter: Arbiter,
    /// Time allowed for requests to end when this host hands its role over to the peer.
    pub handover: Duration,
    /// Seed of this host's jitter, which differs from the peer's.
    pub seed: u64,
}

/// What decides which of the two hosts has the address that moves between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arbiter {
    /// The EC2 API: the host with which the API says that the Elastic IP is associated has it.
    Ec2,
    /// Nothing: each master puts the moving addresses on its own interface.
    None,
}

/// An input of the pair state machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The agent has started, and does not continue another process's role (see [`Self::Resume`]).
    Start,
    /// The agent has started, and another process of this host was master until now.
    Resume {
        /// Time since that process sent its last message to the peer. If the peer may have noticed
        /// the silence, this event is handled as [`Event::Start`].
        silent_for: Duration,
        /// Whether the EC2 API had confirmed to that process that this host has the Elastic IP.
        /// Without an Elastic IP, this has no effect.
        has_address: bool,
    },
    /// The time that [`Host::deadline`](super::Host::deadline) returned has come. At any other time
    /// this event is harmless.
    Timer,
    /// A valid advert of the peer was received.
    Advert(Heard),
    /// The link to the peer is up.
    LinkUp,
    /// The link to the peer is down.
    LinkDown,
    /// The peer sent a message over the link between the two agents.
    PairMessage(PairMessage),
    /// The health of this host's backends and tracked objects has changed.
    LocalHealth(LocalHealth),
    /// A call to the EC2 API returned this result.
    Answer(Answer),
    /// This host is to hand its role over to the peer.
    HandOver(Reason),
    /// No request is in flight on this host.
    Quiet,
    /// A reload changed settings of this host.
    Reconfigure {
        /// The new priority, 1 to 254.
        priority: u8,
        /// Whether to take over from a master with a lower priority.
        preempt: bool,
        /// Time for which a master with a lower priority is heard before this host takes over from
        /// it.
        preempt_delay: Duration,
        /// Time allowed for requests to end when this host hands its role over to the peer.
        handover: Duration,
    },
    /// The agent is about to exit.
    Stop,
}

/// The health of this host, as far as it matters for its role.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LocalHealth {
    /// Weights of tracked objects, which are added to the priority.
    pub weight: i16,
    /// Whether a tracked object has failed without which this host must not be active.
    pub fault: bool,
    /// Whether every backend and every tracked object was checked since the agent started.
    pub checked: bool,
    /// Whether this host has the flows of the active host, or has no link to the peer over which to
    /// get them.
    pub synced: bool,
    /// Whether the EC2 API would refuse to move the Elastic IP to this host: if so, this host does
    /// not take over from a healthy peer.
    pub hindered: bool,
}

/// An output of the pair state machine. Outputs are carried out in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Send an advert to the peer.
    Advert {
        /// The priority in the advert; 0 is a goodbye.
        priority: u8,
        /// The time from this advert to the next.
        interval: Duration,
    },
    /// Send a message over the link to the peer.
    Send(PairMessage),
    /// Make this call to the EC2 API; its result is handled as an [`Event::Answer`].
    Call(Call),
    /// The state of this host's virtual router changed, for this cause.
    Became(State, Cause),
    /// Put the addresses that move between the hosts on this host's interface and announce them, or
    /// remove them from it.
    Addresses {
        /// `true`: put the addresses that move between the hosts on this host's interface and
        /// announce them. `false`: remove them.
        here: bool,
    },
    /// `true`: put new connections on hold and let requests end. `false`: end the hold.
    Hold(bool),
    /// A hand-over of the role to the peer, which an [`Event::HandOver`] requested, ended with this
    /// outcome.
    HandedOver(Result<(), Refusal>),
}

/// What the pair state machine shows of a host in status and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The state of this host's virtual router.
    pub state: State,
    /// This host's priority, including the weights of tracked objects.
    pub priority: u8,
    /// Cause of the last change of the virtual router's state.
    pub cause: Cause,
    /// When the state of the virtual router changed last.
    pub since: Time,
    /// When the peer was last heard, by adverts or over the link between the two agents; `None` if
    /// it never was.
    pub heard: Option<Time>,
    /// The peer's last heartbeat, unless it is older than the detection time.
    pub peer: Option<Heartbeat>,
    /// Whether the peer says that it is master.
    pub peer_is_master: bool,
    /// The EC2 API's last answer about the owner of the Elastic IP: the time of the answer, and the
    /// owner.
    pub owner: Option<(Time, Owner)>,
    /// When an answer of the EC2 API last showed the Elastic IP at this host; `None` if none did.
    pub confirmed: Option<Time>,
    /// Whether this host has the address that moves between the hosts: the EC2 API has confirmed
    /// the Elastic IP here or, where that API is not the arbiter, this host is master.
    pub has_address: bool,
    /// Whether this host has stepped back because a peer that it cannot hear may have the Elastic
    /// IP.
    pub stepped_back: bool,
    /// Whether a hand-over of the role between the two hosts is in progress.
    pub handing_over: bool,
    /// Number of associations of the Elastic IP with this host that the EC2 API has accepted.
    pub moves: u32,
}
