//! The pair of the demo, after it has been started.

use lab::{agent::Pair, gateway::Follower};

/// Two agents, and the gateway that follows the Elastic IP between them.
pub(crate) struct Paired {
    pub(crate) pair: Pair,
    /// The task that keeps the gateway pointed at the Elastic IP's owner. It also keeps the EC2 API
    /// running.
    pub(crate) follower: Follower,
}
