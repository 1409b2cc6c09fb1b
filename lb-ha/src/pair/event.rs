//! The inputs and outputs of the pair's state machine.

use std::{net::IpAddr, time::Duration};

use super::{Heartbeat, Reason, Refusal, Word};
use crate::{
    Time,
    elastic::{Answer, Call, Owner},
    vrrp::{self, Cause, Heard, State},
};

/// The settings of a host.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The virtual router.
    pub vrrp: vrrp::Settings,
    /// Address of the peer.
    pub peer: IpAddr,
    /// Whether there is a link to the other agent.
    pub link: bool,
    /// What decides which host has the address.
    pub arbiter: Arbiter,
    /// Time allowed for requests to end when this host hands over.
    pub handover: Duration,
    /// Seed of the jitter, different on the two hosts.
    pub seed: u64,
}

/// What decides which host has the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arbiter {
    /// The EC2 API.
    Ec2,
    /// No arbiter: each master puts the addresses on its own interface.
    None,
}

/// An input of the state machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The agent has started.
    Start,
    /// The agent has started, and another process of this host was master until now.
    Resume {
        /// Time since that process sent its last message. Handled as [`Event::Start`] when the peer
        /// may have noticed the silence.
        silent_for: Duration,
        /// Whether the address was confirmed to be here.
        has_address: bool,
    },
    /// The deadline has passed. This event is harmless at any other moment.
    Timer,
    /// A valid advert of the peer was received.
    Advert(Heard),
    /// The link is up.
    LinkUp,
    /// The link is down.
    LinkDown,
    /// A message of the peer arrived over the link.
    Word(Word),
    /// The health of this host's backends and tracked objects has changed.
    LocalHealth(LocalHealth),
    /// A call of the EC2 API ended.
    Answer(Answer),
    /// This host is to hand over to the peer.
    HandOver(Reason),
    /// No request is in flight on this host.
    Quiet,
    /// The settings that a reload can change.
    Reconfigure {
        /// The priority, 1 to 254.
        priority: u8,
        /// Whether to take over from a master with a lower priority.
        preempt: bool,
        /// Time for which such a master is heard before this host takes over from it.
        preempt_delay: Duration,
        /// Time allowed for requests to end when this host hands over.
        handover: Duration,
    },
    /// The agent is about to exit.
    Stop,
}

/// The health of this host, as far as it matters for its role.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LocalHealth {
    /// Added to the priority.
    pub weight: i16,
    /// A tracked object has failed that this host must not be active without.
    pub fault: bool,
    /// Every backend and every tracked object was checked since the agent started.
    pub checked: bool,
    /// This host has the flows of the active host, or has no link to get them over.
    pub synced: bool,
    /// The EC2 API would refuse to move the address here: this host does not take over from a healthy
    /// peer.
    pub hindered: bool,
}

/// An output of the state machine, to be carried out in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Send an advert.
    Advert {
        /// The priority; 0 is a goodbye.
        priority: u8,
        /// The time from this advert to the next.
        interval: Duration,
    },
    /// Send a message over the link.
    Say(Word),
    /// Call the EC2 API; the result is an [`Event::Answer`].
    Call(Call),
    /// The state of this host changed.
    Became(State, Cause),
    /// Put the addresses on this host's interface and announce them, or remove them.
    Addresses {
        /// Whether they belong on this host.
        here: bool,
    },
    /// Put new connections on hold and let requests end, or end the hold.
    Hold(bool),
    /// The outcome of an [`Event::HandOver`].
    HandedOver(Result<(), Refusal>),
}

/// The state of a host, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The state.
    pub state: State,
    /// The priority, including the weights of tracked objects.
    pub priority: u8,
    /// Cause of the last change of state.
    pub cause: Cause,
    /// When the state changed last.
    pub since: Time,
    /// When the peer was last heard, by adverts or the link.
    pub heard: Option<Time>,
    /// The peer's last heartbeat, unless it is older than the detection time.
    pub peer: Option<Heartbeat>,
    /// Whether the peer says that it is master.
    pub peer_is_master: bool,
    /// The last description of the address: its time, and the owner.
    pub owner: Option<(Time, Owner)>,
    /// When the EC2 API last confirmed the address for this host.
    pub confirmed: Option<Time>,
    /// Whether this host should have the address, and the EC2 API has confirmed it here.
    pub has_address: bool,
    /// Whether this host has stepped back because a peer that it cannot hear may have the address.
    pub stepped_back: bool,
    /// Whether a hand-over is in progress.
    pub handing_over: bool,
    /// Number of accepted moves of the address to this host.
    pub moves: u32,
}
