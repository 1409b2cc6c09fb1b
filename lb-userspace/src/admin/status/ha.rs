//! The pair, as this host sees it.

use lb_ha::vrrp::State;
use serde::{Deserialize, Serialize};

use super::Moment;

/// This host's part in the pair, and what it knows of the other host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HaStatus {
    /// This host's role: `init`, `backup`, `master` or `fault`.
    pub role: State,
    /// Why it has that role: the word of a [`lb_ha::vrrp::Cause`].
    pub reason: String,
    /// Since when.
    pub since: Moment,
    /// This host's priority, 1 to 254, with what is tracked.
    pub priority: u8,
    /// The virtual router's number, 1 to 255.
    pub virtual_router_id: u8,
    /// Whether this host has stepped back for a host that it cannot hear.
    pub stepped_back: bool,
    /// Whether a hand-over is under way.
    pub handing_over: bool,
    /// What is tracked: scripts and the agent's own facts.
    pub tracked: Vec<TrackedStatus>,
    /// The other host.
    pub peer: PeerStatus,
    /// The link between the agents; `null` where there is no `[ha.link]`.
    pub link: Option<LinkStatus>,
    /// What moves to the active host.
    pub address: AddressStatus,
    /// The flows that the hosts tell each other of; `null` where there is no link, and where an
    /// Elastic IP is on a private address that does not move.
    pub flows: Option<FlowsStatus>,
    /// A sentence for every certificate that differs between the hosts.
    pub certificates: Vec<String>,
}

/// Something that is tracked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrackedStatus {
    /// Its name.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// Since when that is so.
    pub since: Moment,
    /// What it says, such as why it fails; may be empty.
    pub message: String,
    /// What it does to this host now: `fault`, a weight that is added to the priority such as `-50`
    /// or `+20`, or nothing.
    pub effect: String,
}

/// What this host knows of the other one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PeerStatus {
    /// Its address.
    pub address: String,
    /// The name of its node; `null` until the link has told it.
    pub node: Option<String>,
    /// Its version of `lb`; `null` until the link has told it.
    pub version: Option<String>,
    /// The role that it says it has; `null` when it was not heard within the master-down interval.
    pub role: Option<State>,
    /// The priority that it says it has, 1 to 254.
    pub priority: Option<u8>,
    /// Whether it could become active without loss. Only heartbeats over the link say so.
    pub ready: Option<bool>,
    /// How long ago it was last heard, by either path, in seconds; `null`: never.
    pub heard: Option<f64>,
}

/// The link between the agents.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Whether it stands.
    pub up: bool,
    /// Since when it stands, or does not.
    pub since: Moment,
    /// How long the last ping took, there and back, in seconds.
    pub lag: Option<f64>,
    /// Why it does not stand, in a sentence.
    pub problem: Option<String>,
}

/// What moves to the active host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AddressStatus {
    /// What it is.
    pub kind: AddressKind,
    /// The allocation of the Elastic IP, or the virtual addresses; empty where commands move it.
    pub name: String,
    /// Whose it is.
    pub owner: AddressOwner,
    /// What is known of an owner that is not this host: an interface, an instance, an address.
    pub owner_is: Option<String>,
    /// When it was last confirmed to be this host's.
    pub confirmed: Option<Moment>,
    /// Why the last attempt to move or to see it failed, or why the next one would; `null`: it
    /// succeeded, and nothing is known to be in the way.
    pub error: Option<String>,
    /// When the attempt failed; `null`: none of the EC2 API's did.
    pub error_at: Option<Moment>,
    /// How many times this host has moved it to itself since the agent started.
    pub moves: u64,
}

/// What it is that moves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressKind {
    /// An Elastic IP, by the EC2 API.
    ElasticIp,
    /// Addresses of the interface.
    VirtualIp,
    /// Whatever the commands of `[ha.notify]` move.
    Commands,
}

/// Whose the address is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressOwner {
    /// This host's.
    #[serde(rename = "self")]
    This,
    /// Another host's.
    Other,
    /// It is not associated.
    Nobody,
    /// Nothing has said so yet.
    Unknown,
}

impl AddressOwner {
    /// The owner in a word, as the label `owner` of a metric has it.
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

/// The flows that the hosts tell each other of.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FlowsStatus {
    /// Whether this host has all flows of the other one.
    pub synced: bool,
    /// Flows told to the other host.
    pub sent: u64,
    /// Flows that the other host told of, and that were taken in.
    pub received: u64,
    /// Flows of the peer that were not imported.
    pub skipped: u64,
    /// How long ago the last pass over the whole table ended, in seconds; `null`: there was none.
    pub last_full_pass: Option<f64>,
}

#[cfg(test)]
pub(crate) mod examples {
    use std::time::Duration;

    use super::*;

    /// The active host of a pair in which all is well, at the moment `now`.
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
