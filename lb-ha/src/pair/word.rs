//! What the two agents say to each other over their link about who is active.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vrrp::State;

/// What one agent says to the other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Word {
    /// Said once an advert interval, and at once when something in it changes.
    Heartbeat(Heartbeat),
    /// The standby asks the active host to hand over.
    Ask,
    /// The active host hands over: nothing is under way there any more.
    TakeOver,
    /// The standby cannot take over.
    Decline,
}

/// How one host is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Heartbeat {
    /// The state of its router.
    pub state: State,
    /// Its priority, 1 to 254, with what is tracked.
    pub priority: u8,
    /// Its advert interval, in milliseconds.
    pub interval_millis: u32,
    /// Whether it may become active: its backends are checked, it has the flows, nothing is faulty.
    pub ready: bool,
    /// Whether it heard this host's last heartbeats.
    pub hears_you: bool,
    /// Whether it has the address and is sure of it.
    pub has_address: bool,
    /// How many times it has moved the address to itself: when that changes, the other one looks.
    pub moves: u32,
}

impl Heartbeat {
    /// Its advert interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.interval_millis))
    }
}
