//! Reports the pair in the status and in the metrics.

use lb_ha::vrrp::State;

use crate::{
    admin::{
        AddressKind, AddressOwner, AddressStatus, FlowsStatus, HaStatus, LinkStatus, Moment,
        PeerStatus, TrackedStatus,
    },
    agent::pair::{Ec2Snapshot, LinkSnapshot, PairSnapshot},
    aws,
    config::{Ha, Moves},
    dataplane::flows::FlowCounters,
    ha::{
        address::AddressesView,
        track::{Effect, Tracked},
    },
    peer::{Difference, DifferenceKind},
};

/// Returns the status of the pair, as this host sees it.
pub(super) fn status(ha: &Ha, known: &PairSnapshot, differences: &[Difference]) -> HaStatus {
    let view = &known.view;
    HaStatus {
        role: view.state,
        reason: view.cause.as_str().to_owned(),
        since: Moment(known.clock.when(view.since)),
        priority: view.priority,
        virtual_router_id: ha.virtual_router_id.get(),
        stepped_back: view.stepped_back,
        handing_over: view.handing_over,
        tracked: known.tracked.iter().map(tracked).collect(),
        peer: peer_status(ha, known),
        link: known.link.as_ref().map(link_status),
        address: address_status(ha, known),
        flows: known
            .flows
            .as_ref()
            .map(|(flows, synced)| flows_status(&flows.counters(), *synced)),
        certificates: differences.iter().map(difference).collect(),
    }
}

fn difference(one: &Difference) -> String {
    let path = &one.path;
    match one.kind {
        DifferenceKind::OnlyHere => {
            format!("this host serves the certificate file {path}, the peer does not")
        }
        DifferenceKind::OnlyThere => {
            format!("the peer serves the certificate file {path}, this host does not")
        }
        DifferenceKind::NewerHere => format!("the peer has an older certificate in {path}"),
        DifferenceKind::NewerThere => format!("the peer has a newer certificate in {path}"),
        DifferenceKind::Other => format!("the hosts have different certificates in {path}"),
    }
}

fn tracked(one: &Tracked) -> TrackedStatus {
    let fact = &one.fact;
    let ok = fact.well == Some(true);
    let effect = match fact.effect {
        Effect::Fault if !ok => "fault".to_owned(),
        Effect::Weight(weight) if ok == (weight > 0) => format!("{weight:+}"),
        Effect::Backends(weight) if !ok => format!("-{weight}"),
        Effect::Fault | Effect::Weight(_) | Effect::Backends(_) => String::new(),
    };
    TrackedStatus {
        name: fact.what.to_string(),
        ok,
        since: Moment(one.since),
        message: fact.message.clone(),
        effect,
    }
}

fn peer_status(ha: &Ha, known: &PairSnapshot) -> PeerStatus {
    let view = &known.view;
    let info = known.link.as_ref().and_then(|link| link.peer.as_ref());
    let by_advert = view.peer_is_master.then_some(State::Master);
    PeerStatus {
        address: ha.peer.to_string(),
        node: info.map(|peer| peer.node.clone()),
        version: info.map(|peer| peer.version.clone()),
        role: view.peer.map(|beat| beat.state).or(by_advert),
        priority: view.peer.map(|beat| beat.priority),
        ready: view.peer.map(|beat| beat.ready),
        heard: view.heard.map(|heard| known.clock.seconds_ago(heard)),
    }
}

fn link_status(link: &LinkSnapshot) -> LinkStatus {
    let connected = link.view.connected.as_ref();
    LinkStatus {
        up: connected.is_some(),
        since: Moment(link.since),
        lag: connected
            .and_then(|connected| connected.round_trip)
            .map(|lag| lag.as_secs_f64()),
        problem: link.view.problem.clone(),
    }
}

fn address_status(ha: &Ha, known: &PairSnapshot) -> AddressStatus {
    let base = AddressStatus {
        kind: AddressKind::Commands,
        name: String::new(),
        owner: owner_by_role(known),
        owner_is: None,
        confirmed: None,
        error: None,
        error_at: None,
        moves: 0,
    };
    match &ha.moves {
        Moves::Commands => base,
        Moves::VirtualIp(addresses) => {
            let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let name = names.join(", ");
            virtual_ip_status(known.addresses.as_ref(), AddressStatus { name, ..base })
        }
        Moves::ElasticIp(elastic_ip) => {
            let name = elastic_ip.allocation_id.clone();
            elastic_ip_status(known, known.ec2.as_ref(), AddressStatus { name, ..base })
        }
    }
}

/// Derives the owner of the address that moves between the hosts from the roles of both hosts, for
/// kinds of addresses whose owner cannot be observed.
fn owner_by_role(known: &PairSnapshot) -> AddressOwner {
    if known.view.state == State::Master {
        AddressOwner::This
    } else if known.view.peer_is_master {
        AddressOwner::Other
    } else {
        AddressOwner::Unknown
    }
}

fn virtual_ip_status(view: Option<&AddressesView>, base: AddressStatus) -> AddressStatus {
    let held = view.is_some_and(AddressesView::held);
    let here = view.is_some_and(|view| view.addresses.iter().any(|(_, here)| *here));
    AddressStatus {
        kind: AddressKind::VirtualIp,
        owner: match base.owner {
            // This host is active but lacks one of the virtual IPs, of which the active host must
            // have all.
            AddressOwner::This if !held => AddressOwner::Unknown,
            // A virtual IP on this host's interface takes precedence over the role, because clients
            // reach the host that has the virtual IP.
            _ if here => AddressOwner::This,
            other => other,
        },
        confirmed: view
            .filter(|_| held)
            .and_then(|view| view.since)
            .map(Moment),
        error: view.and_then(|view| view.problem.clone()),
        ..base
    }
}

fn elastic_ip_status(
    known: &PairSnapshot,
    ec2: Option<&Ec2Snapshot>,
    base: AddressStatus,
) -> AddressStatus {
    let failing = ec2.filter(|ec2| ec2.failing);
    let failed = failing.and_then(|ec2| ec2.view.counters.last_error.as_ref());
    AddressStatus {
        kind: AddressKind::ElasticIp,
        owner: owner(ec2),
        owner_is: ec2.and_then(|ec2| ec2.owner.as_ref()).and_then(owner_is),
        confirmed: known
            .view
            .confirmed
            .map(|moment| Moment(known.clock.when(moment))),
        error: failed
            .map(|failed| failed.error.to_string())
            .or_else(|| foreseen(ec2?)),
        error_at: failed.map(|failed| Moment(failed.at)),
        moves: u64::from(known.view.moves),
        ..base
    }
}

/// Returns why EC2 would refuse to move the Elastic IP to this host, which is the first finding of
/// the permission check; `None` if there is none. On a standby this is known before any call fails.
fn foreseen(ec2: &Ec2Snapshot) -> Option<String> {
    let inspection = ec2.view.inspection.as_ref()?;
    let first = inspection.sentences().next()?;
    Some(format!(
        "EC2 would refuse to move the Elastic IP to this host: {first}"
    ))
}

pub(super) fn owner(ec2: Option<&Ec2Snapshot>) -> AddressOwner {
    match ec2.and_then(|ec2| ec2.owner.as_ref()) {
        None => AddressOwner::Unknown,
        Some(aws::Owner::Us) => AddressOwner::This,
        Some(aws::Owner::Nobody) => AddressOwner::Nobody,
        Some(aws::Owner::Other { .. }) => AddressOwner::Other,
    }
}

fn owner_is(owner: &aws::Owner) -> Option<String> {
    let aws::Owner::Other {
        interface,
        instance,
        private_ip,
    } = owner
    else {
        return None;
    };
    let private_ip = private_ip.map(|address| address.to_string());
    let known = [private_ip, interface.clone(), instance.clone()];
    let known: Vec<_> = known.into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(", "))
}

fn flows_status(counters: &FlowCounters, synced: bool) -> FlowsStatus {
    let last = counters.last_pass_ended;
    FlowsStatus {
        synced,
        sent: counters.sent,
        received: counters.imported,
        skipped: counters.skipped.iter().map(|(_, count)| count).sum(),
        last_full_pass: last.map(|ended| ended.elapsed().as_secs_f64()),
    }
}

#[cfg(test)]
mod tests;
