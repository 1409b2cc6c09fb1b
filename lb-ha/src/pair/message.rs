//! The messages about who is active, which the two agents exchange over the link between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vrrp::State;

/// A message of one agent to the other over the link between them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PairMessage {
    /// The state of the sender: sent once in each advert interval, and immediately when its content
    /// changes.
    Heartbeat(Heartbeat),
    /// The standby asks the active host to hand over its role.
    Ask,
    /// The active host hands its role over to the standby: no request is in flight on the active
    /// host any more.
    TakeOver,
    /// The standby cannot take over, so the active host stays active.
    Decline,
}

/// The state of one host, as it tells its peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Heartbeat {
    /// State of the sender's virtual router.
    pub state: State,
    /// The sender's priority, including the weights of tracked objects: 1 to 254.
    pub priority: u8,
    /// The sender's advert interval, in milliseconds.
    pub interval_millis: u32,
    /// Whether the sender may become active: its backends are checked, it has the flows of the
    /// active host, and nothing has failed.
    pub ready: bool,
    /// Whether the sender receives the heartbeats of the host to which it sends this one.
    pub hears_you: bool,
    /// Whether the sender has the address that moves between the hosts: for an Elastic IP, as the
    /// EC2 API has confirmed; otherwise, because the sender is master.
    pub has_address: bool,
    /// Number of times that the sender has moved the Elastic IP to itself. When it changes, the
    /// receiver asks the EC2 API for the owner.
    pub moves: u32,
}

impl Heartbeat {
    /// Returns the sender's advert interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.interval_millis))
    }
}
