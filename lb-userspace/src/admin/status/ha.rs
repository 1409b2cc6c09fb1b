//! The status of the pair, as seen by this host.

use lb_ha::vrrp::State;
use serde::{Deserialize, Serialize};

use super::Moment;

/// This host's role in the pair, and what it knows about its peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HaStatus {
    /// This host's role: `init`, `backup`, `master` or `fault`.
    pub role: State,
    /// Why this host has that role: [`lb_ha::vrrp::Cause::as_str`].
    pub reason: String,
    /// When this host entered that role.
    pub since: Moment,
    /// This host's effective priority, 1 to 254: the configured priority adjusted by tracking.
    pub priority: u8,
    /// The VRRP virtual router identifier (VRID), 1 to 255.
    pub virtual_router_id: u8,
    /// Whether this host has stepped back: it hears no peer, and the address is elsewhere or cannot be
    /// confirmed to be here.
    pub stepped_back: bool,
    /// Whether a hand-over is in progress.
    pub handing_over: bool,
    /// The tracked items: scripts, and conditions that the agent checks itself.
    pub tracked: Vec<TrackedStatus>,
    /// The other host.
    pub peer: PeerStatus,
    /// The link between the agents; `null` without `[ha.link]`.
    pub link: Option<LinkStatus>,
    /// The address that moves to the active host.
    pub address: AddressStatus,
    /// The replication of flows between the hosts; `null` without a link, and where an Elastic IP is on a
    /// private address that does not move.
    pub flows: Option<FlowsStatus>,
    /// The certificates that differ between the hosts, a sentence each.
    pub certificates: Vec<String>,
}

/// A tracked item: a script, or a condition that the agent checks itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrackedStatus {
    /// The name of the item.
    pub name: String,
    /// Whether the item is healthy.
    pub ok: bool,
    /// When `ok` last changed.
    pub since: Moment,
    /// The last message, such as why the item fails; may be empty.
    pub message: String,
    /// The current effect on this host: `fault`, a weight added to the priority such as `-50` or `+20`, or
    /// empty for none.
    pub effect: String,
}

/// What this host knows about its peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PeerStatus {
    /// The peer's address.
    pub address: String,
    /// The peer's `node.name`; `null` until received over the link.
    pub node: Option<String>,
    /// The peer's version of `lb`; `null` until received over the link.
    pub version: Option<String>,
    /// The role that the peer last reported; `null` if it was not heard within the master-down interval.
    pub role: Option<State>,
    /// The priority that the peer last reported, 1 to 254.
    pub priority: Option<u8>,
    /// Whether the peer is ready to become active: it has checked its backends, has the flows, and nothing
    /// has failed. Reported only in heartbeats over the link.
    pub ready: Option<bool>,
    /// Time since the last advert or heartbeat of the peer, in seconds; `null`: there was none.
    pub heard: Option<f64>,
}

/// The link between the agents.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Whether the link is up.
    pub up: bool,
    /// When `up` last changed.
    pub since: Moment,
    /// Round-trip time of the last ping over the link, in seconds; `null`: there was none.
    pub lag: Option<f64>,
    /// Why the link is down, in a sentence.
    pub problem: Option<String>,
}

/// The address that moves to the active host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AddressStatus {
    /// The kind of address.
    pub kind: AddressKind,
    /// The allocation ID of the Elastic IP, or the virtual IPs; empty if commands move the address.
    pub name: String,
    /// The host that has the address.
    pub owner: AddressOwner,
    /// The owner if it is not this host: the ID of an interface or instance, or an address.
    pub owner_is: Option<String>,
    /// When the address was last confirmed to be on this host.
    pub confirmed: Option<Moment>,
    /// Why the last attempt to move or to look up the address failed, or why the next one would; `null`: the
    /// last attempt succeeded, and no obstacle is known.
    pub error: Option<String>,
    /// When the attempt failed; `null`: no call of the EC2 API failed.
    pub error_at: Option<Moment>,
    /// Number of times that this host moved the address to itself since the agent started.
    pub moves: u64,
}

/// The kind of address that moves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// An Elastic IP, moved by the EC2 API.
    ElasticIp,
    /// Virtual IPs on the interface.
    VirtualIp,
    /// An address that the commands of `[ha.notify]` move.
    Commands,
}

/// The owner of the address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOwner {
    /// This host.
    #[serde(rename = "self")]
    This,
    /// Another host.
    Other,
    /// No host: the Elastic IP is not associated.
    Nobody,
    /// Not known yet.
    Unknown,
}

impl AddressOwner {
    /// Returns the name of the owner, as in JSON and in the label `owner` of a metric.
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
    /// Whether this host has all flows of the peer.
    pub synced: bool,
    /// Number of flows sent to the peer.
    pub sent: u64,
    /// Number of flows received from the peer and imported.
    pub received: u64,
    /// Number of flows of the peer that were not imported.
    pub skipped: u64,
    /// Time since the end of the last pass over the whole table, in seconds; `null`: there was none.
    pub last_full_pass: Option<f64>,
}

#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;

    /// Returns the status of the active host of a healthy pair at `now`.
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
