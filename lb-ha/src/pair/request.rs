//! Why a hand-over of the active role is requested, and why such a request is refused.

use std::fmt;

/// Why a host hands its role over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The operator ordered the hand-over.
    Operator,
    /// The agent of this host is about to exit.
    Stop,
    /// The peer, which has the higher priority, asked for the role.
    Asked,
}

/// Why a hand-over of the active role failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// This host is not active.
    NotActive,
    /// Another hand-over is in progress.
    UnderWay,
    /// The peer is not heard over the link between the two agents.
    NoPeer,
    /// The peer is not ready to take over.
    PeerNotReady,
    /// The peer took over and did not get the address that moves between the hosts in time; the
    /// peer is still trying.
    NotTaken,
    /// The agent of this host is about to exit.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotActive => "this host is not the active one: there is nothing to hand over",
            Self::UnderWay => "a hand-over is in progress",
            Self::NoPeer => "the peer is not heard over the link between the agents",
            Self::PeerNotReady => "the peer is not ready to take over",
            Self::NotTaken => {
                "the peer took over and does not have the address yet; it keeps trying"
            }
            Self::Stopping => "the agent stops",
        })
    }
}

impl std::error::Error for Refusal {}
