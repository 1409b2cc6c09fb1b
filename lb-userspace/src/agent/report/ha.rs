//! The pair in the status and in the metrics.

use std::time::SystemTime;

use lb_ha::{elastic, vrrp::State};

use crate::{
    admin::{
        AddressKind, AddressOwner, AddressStatus, FlowsStatus, HaStatus, LinkStatus, Moment,
        PeerStatus, TrackedStatus,
    },
    agent::pair::Known,
    aws,
    config::{Ha, Moves},
    metrics::{CallSecondsReading, ElasticIpReading, FlowsReading, HaReading, LinkReading},
};

/// The pair, for people.
pub(super) fn status(ha: &Ha, known: &Known) -> HaStatus {
    let view = &known.latest.view;
    HaStatus {
        role: view.state,
        reason: view.cause.as_str().to_owned(),
        since: Moment(known.latest.when(view.since)),
        priority: view.priority,
        virtual_router_id: ha.virtual_router_id.get(),
        stepped_back: view.stepped_back,
        handing_over: view.handing_over,
        tracked: known.tracked.iter().map(tracked).collect(),
        peer: peer(ha, known),
        link: known.link.as_ref().map(|link| LinkStatus {
            up: link.connected.is_some(),
            since: Moment(known.link_since.unwrap_or(SystemTime::UNIX_EPOCH)),
            lag: link
                .connected
                .as_ref()
                .and_then(|connected| connected.round_trip)
                .map(|lag| lag.as_secs_f64()),
            problem: link.problem.clone(),
        }),
        address: address(ha, known),
        flows: flows(known),
        certificates: Vec::new(),
    }
}

fn peer(ha: &Ha, known: &Known) -> PeerStatus {
    let view = &known.latest.view;
    let beat = view.peer;
    let by_advert = view.peer_is_master.then_some(State::Master);
    PeerStatus {
        address: ha.peer.to_string(),
        node: known.peer.as_ref().map(|peer| peer.node.clone()),
        version: known.peer.as_ref().map(|peer| peer.version.clone()),
        role: beat.map(|beat| beat.state).or(by_advert),
        priority: beat.map(|beat| beat.priority),
        ready: beat.map(|beat| beat.ready),
        heard: view.heard.map(|heard| {
            let ago = SystemTime::now().duration_since(known.latest.when(heard));
            ago.unwrap_or_default().as_secs_f64()
        }),
    }
}
