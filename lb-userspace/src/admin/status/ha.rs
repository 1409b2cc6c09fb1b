//! The status of the pair, as this host sees it.

use lb_ha::vrrp::State;
use serde::{Deserialize, Serialize};

use super::Moment;

/// This host's role in the pair, and what it knows about its peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HaStatus {
    /// This host's VRRP role: `init`, `backup`, `master` or `fault`.
    pub role: State,
    /// Why this host has that role, as a word from [`lb_ha::vrrp::Cause::as_str`].
    pub reason: String,
    /// When this host entered its present role.
    pub since: Moment,
    /// This host's effective priority, 1 to 254: the configured priority adjusted by tracking.
    pub priority: u8,
    /// The VRRP virtual router identifier (VRID), 1 to 255.
    pub virtual_router_id: u8,
    /// Whether this host has stepped back from being active: it hears no peer, and the address that
    /// moves is elsewhere or cannot be confirmed to be on this host.
    pub stepped_back: bool,
    /// Whether a hand-over of the active role to the peer is in progress.
    pub handing_over: bool,
    /// The tracked items: the operator's scripts, and conditions that the agent checks itself.
    pub tracked: Vec<TrackedStatus>,
    /// What this host knows about the other host of the pair.
    pub peer: PeerStatus,
    /// The link between the two agents; `null` if the configuration has no `[ha.link]`.
    pub link: Option<LinkStatus>,
    /// The address that moves to the active host.
    pub address: AddressStatus,
    /// The replication of flows between the hosts; `null` if there is no link between the agents,
    /// or if the Elastic IP is associated with private addresses that do not move.
    pub flows: Option<FlowsStatus>,
    /// The certificates that differ between the hosts, one sentence for each.
    pub certificates: Vec<String>,
}

/// A tracked item: one of the operator's scripts, or a condition that the agent checks itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrackedStatus {
    /// The name of the tracked item.
    pub name: String,
    /// Whether the tracked item is healthy.
    pub ok: bool,
    /// When the item last became healthy or unhealthy.
    pub since: Moment,
    /// What the last check of the item found, such as why it failed; may be empty.
    pub message: String,
    /// The effect that the item has on this host now: `fault`, a weight added to the priority such
    /// as `-50` or `+20`, or empty for none.
    pub effect: String,
}

/// What this host knows about its peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PeerStatus {
    /// The IP address of the peer.
    pub address: String,
    /// The peer's `node.name`; `null` until it was received over the link between the agents.
    pub node: Option<String>,
    /// The version of `lb` that the peer runs; `null` until it was received over the link between
    /// the agents.
    pub version: Option<String>,
    /// The role that the peer last reported; `null` if nothing was heard from the peer within the
    /// master-down interval.
    pub role: Option<State>,
    /// The priority that the peer last reported, 1 to 254; `null` if it is not known.
    pub priority: Option<u8>,
    /// Whether the peer is ready to become active: it has checked its backends, has the flows, and
    /// nothing has failed. `null` if not known: only heartbeats over the link between the agents
    /// report it.
    pub ready: Option<bool>,
    /// Time since the last advert or heartbeat of the peer was received, in seconds; `null` if
    /// there was none.
    pub heard: Option<f64>,
}

/// The link between the agents of the pair.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Whether the link to the peer is up.
    pub up: bool,
    /// When the link to the peer last went up or down.
    pub since: Moment,
    /// Round-trip time of the last ping over the link to the peer, in seconds; `null` if there was
    /// none.
    pub lag: Option<f64>,
    /// Why the link to the peer is down, as a sentence; `null` if it is up.
    pub problem: Option<String>,
}

/// The address that moves to the active host, and where it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AddressStatus {
    /// How the address moves between the hosts: by the EC2 API, as virtual IPs, or by commands.
    pub kind: AddressKind,
    /// The allocation ID of the Elastic IP, or the virtual IPs; empty if notify commands move the
    /// address.
    pub name: String,
    /// Which host has the address that moves.
    pub owner: AddressOwner,
    /// Who has the address that moves if it is not this host: the ID of a network interface or
    /// instance, or an IP address; `null` if not known.
    pub owner_is: Option<String>,
    /// When the address that moves was last confirmed to be on this host; `null` if it was not.
    pub confirmed: Option<Moment>,
    /// Why the last attempt to move or to look up the address that moves failed, or why the next
    /// attempt would fail; `null` if the last attempt succeeded and no obstacle is known.
    pub error: Option<String>,
    /// When the call to the EC2 API failed that the field `error` is about; `null` if `error` is
    /// not about a failed call.
    pub error_at: Option<Moment>,
    /// Number of times that this host moved to itself the address that moves between the hosts,
    /// since the agent started.
    pub moves: u64,
}

/// How the address that moves to the active host is moved.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// An Elastic IP, which moves by a call to the EC2 API.
    ElasticIp,
    /// Virtual IPs, which are added to the active host's network interface.
    VirtualIp,
    /// An address that the notify commands of `[ha.notify]` move.
    Commands,
}

/// Which host has the address that moves to the active host, as this host sees it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOwner {
    /// This host has the address that moves.
    #[serde(rename = "self")]
    This,
    /// Another host has the address that moves.
    Other,
    /// No host has the address that moves: the Elastic IP is not associated.
    Nobody,
    /// It is not known yet which host has the address that moves.
    Unknown,
}

impl AddressOwner {
    /// Returns the name of the address's owner, as in JSON and in the label `owner` of a metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::This => "self",
            Self::Other => "other",
            Self::Nobody => "nobody",
            Self::Unknown => "unknown",
        }
    }
}

/// The replication of flows between the hosts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FlowsStatus {
    /// Whether the link to the peer is up and this host has all flows that the peer has.
    pub synced: bool,
    /// Number of flows that were sent to the peer.
    pub sent: u64,
    /// Number of flows that were received from the peer and imported.
    pub received: u64,
    /// Number of flows that were not replicated: received from the peer but not imported, or of
    /// this host and not sent because the peer cannot continue them.
    pub skipped: u64,
    /// Time since one of the two hosts last finished sending its whole connection table to the
    /// other, in seconds; `null` if neither has.
    pub last_full_pass: Option<f64>,
}

#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;

    /// Returns an example: the status of the active host of a healthy pair at `now`.
    pub(crate) fn ha(now: Moment) -> HaStatus {
        let ago = |seconds| Moment(now.0 - Duration::from_secs(seconds));
        let tracked = |name: &str| TrackedStatus {
            name: name.to_owned(),
            ok: true,
            since: ago(3 * 86_400),
            message: String::new(),
            effect: String::new(),
        };
        HaStatus {
            role: State::Master,
            reason: "silence".to_owned(),
            since: ago(3 * 86_400 + 7_000),
            priority: 110,
            virtual_router_id: 41,
            stepped_back: false,
            handing_over: false,
            tracked: vec![tracked("interface"), tracked("disk")],
            peer: PeerStatus {
                address: "172.31.15.233".to_owned(),
                node: Some("lb-b".to_owned()),
                version: Some("0.1.0".to_owned()),
                role: Some(State::Backup),
                priority: Some(100),
                ready: Some(true),
                heard: Some(0.04),
            },
            link: Some(LinkStatus {
                up: true,
                since: ago(3 * 86_400),
                lag: Some(0.000_42),
                problem: None,
            }),
            address: AddressStatus {
                kind: AddressKind::ElasticIp,
                name: "eipalloc-0123456789abcdef0".to_owned(),
                owner: AddressOwner::This,
                owner_is: None,
                confirmed: Some(ago(2)),
                error: None,
                error_at: None,
                moves: 1,
            },
            flows: Some(FlowsStatus {
                synced: true,
                sent: 12_345,
                received: 17,
                skipped: 0,
                last_full_pass: Some(12.3),
            }),
            certificates: Vec::new(),
        }
    }
}
