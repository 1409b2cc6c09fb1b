//! What the pair says for one scrape.
//!
//! Counts by a label are given with every value that the label may have, zeros included: a counter
//! that appears with its first event is one that `increase()` does not see.

use std::time::SystemTime;

/// This host's part in the pair.
#[derive(Clone, Debug, Default)]
pub struct HaReading {
    /// The state of the virtual router: `init`, `backup`, `master` or `fault`.
    pub state: &'static str,
    /// The priority, 1 to 254, with what is tracked.
    pub priority: u8,
    /// Whether the host has stepped back for a host that it cannot hear.
    pub stepped_back: bool,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Adverts received that were good and the peer's.
    pub adverts_received: u64,
    /// Adverts that were refused: reason, how many.
    pub adverts_refused: Vec<(&'static str, u64)>,
    /// Adverts that could not be sent, and failures of the sockets.
    pub advert_errors: u64,
    /// How many times this host became active: by which [`lb_ha::vrrp::Cause`], how many.
    pub failovers: Vec<(&'static str, u64)>,
    /// How many times this host came into a state: the state, by which cause, how many. Those that
    /// have happened are enough.
    pub transitions: Vec<(&'static str, &'static str, u64)>,
    /// What is tracked: name, whether it is well.
    pub tracked: Vec<(String, bool)>,
    /// Runs of the commands of `[ha.notify]`: state, outcome, how many.
    pub notify_runs: Vec<(&'static str, &'static str, u64)>,
    /// Where an Elastic IP moves.
    pub elastic_ip: Option<ElasticIpReading>,
    /// Where virtual addresses move: whether this host has them.
    pub virtual_ip_held: Option<bool>,
    /// Where there is a link between the agents.
    pub link: Option<LinkReading>,
    /// Where the hosts tell each other of flows.
    pub flows: Option<FlowsReading>,
}

/// The Elastic IP, and the calls of the EC2 API.
#[derive(Clone, Debug, Default)]
pub struct ElasticIpReading {
    /// Whose it is: `self`, `other`, `nobody` or `unknown`.
    pub owner: &'static str,
    /// When it was last confirmed to be this host's; `None`: never since the agent started.
    pub confirmed: Option<SystemTime>,
    /// Calls that ended: operation, outcome, how many.
    pub calls: Vec<(&'static str, &'static str, u64)>,
    /// How long they took.
    pub call_seconds: Vec<CallSecondsReading>,
    /// How many times this host moved it to itself.
    pub moves: u64,
}

/// How long the calls of one operation took.
#[derive(Clone, Debug, Default)]
pub struct CallSecondsReading {
    /// The operation.
    pub operation: &'static str,
    /// Upper bounds in seconds, ascending, and how many calls lie below each but above the one
    /// before it. The last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all, in seconds.
    pub sum: f64,
}

/// The link between the agents.
#[derive(Clone, Debug, Default)]
pub struct LinkReading {
    /// Whether it stands.
    pub up: bool,
    /// How long the last ping took, there and back, in seconds; `None` before the first.
    pub lag: Option<f64>,
    /// Connections that were refused: reason, how many.
    pub refused: Vec<(&'static str, u64)>,
    /// Bytes received from the peer.
    pub bytes_in: u64,
    /// Bytes sent to the peer.
    pub bytes_out: u64,
}

/// The flows that the hosts tell each other of.
#[derive(Clone, Debug, Default)]
pub struct FlowsReading {
    /// Whether this host has all flows of the peer.
    pub synced: bool,
    /// Flows told to the peer.
    pub sent: u64,
    /// Flows that the peer told of, and that were taken in.
    pub received: u64,
    /// Flows of the peer that were not imported: reason and count.
    pub skipped: Vec<(&'static str, u64)>,
    /// Events of flows that the kernel had no room to tell the agent of.
    pub events_lost: u64,
}
