//! The pair of the demo, once it runs.

use lab::{agent::Pair, gateway::Follower};

/// Two agents, and the gateway that follows the Elastic IP between them.
pub(crate) struct Paired {
    pub(crate) pair: Pair,
    /// Keeps the EC2 alive, too.
    pub(crate) follower: Follower,
}
