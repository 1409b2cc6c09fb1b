//! The status of the pair as text for display: a row for each host, then facts about the address
//! that moves, the link between the agents, the replication of flows, and tracked items.

use std::time::Duration;

use lb_ha::vrrp::State;

use super::{ago, count, counted, milliseconds, span};
use crate::admin::{
    AddressKind, AddressOwner, AddressStatus, FlowsStatus, HaStatus, LinkStatus, Moment,
    PeerStatus, Status, TrackedStatus,
};

/// Age at which the last confirmation of the Elastic IP is highlighted. A healthy active host
/// confirms its address about every 5 seconds.
const STALE: Duration = Duration::from_secs(15);

/// How a displayed value is highlighted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// The value is not highlighted.
    Plain,
    /// The value is a healthy state.
    Good,
    /// The value is a warning.
    Odd,
    /// The value is a problem that needs an operator.
    Bad,
}

/// The status of the pair, as texts for display.
#[derive(Clone, Debug, PartialEq)]
pub struct PairInWords {
    /// The row of this host, then the row of its peer.
    pub hosts: [HostRow; 2],
    /// The facts about the pair to show below the hosts. If the hosts disagree on their roles, the
    /// fact that says so comes first.
    pub facts: Vec<Fact>,
}

/// The texts about one host of the pair.
#[derive(Clone, Debug, PartialEq)]
pub struct HostRow {
    /// The name of the host; its address while the name is not known.
    pub name: String,
    /// The role of the host; a dash if it is not known.
    pub role: (Tone, String),
    /// The priority of the host; a dash if it is not known.
    pub priority: String,
    /// Further information about the host, such as why it has its role.
    pub note: (Tone, String),
}

/// A text about one aspect of the pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// What the fact is about, in one or two words.
    pub about: &'static str,
    /// The fact about the pair, as text for display.
    pub text: String,
    /// How the text of the fact is highlighted.
    pub tone: Tone,
}

impl PairInWords {
    /// Formats the status of the pair for display; `None` for a host without a peer.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let ha = status.ha.as_ref()?;
        let now = status.now;
        let mut facts: Vec<Fact> = disagreement(ha).into_iter().collect();
        facts.push(address(ha, now));
        facts.extend(address_error(ha, now));
        facts.extend(ha.link.as_ref().map(|one| link(one, now)));
        facts.extend(ha.flows.as_ref().map(flows));
        facts.extend(tracked(&ha.tracked, now));
        let certificates = ha.certificates.iter();
        facts.extend(certificates.map(|one| Fact::new("certificate", Tone::Odd, one.clone())));
        Some(Self {
            hosts: [this_host(ha, status), other_host(ha, status)],
            facts,
        })
    }
}

impl Fact {
    fn new(about: &'static str, tone: Tone, text: impl Into<String>) -> Self {
        Self {
            about,
            text: text.into(),
            tone,
        }
    }
}

fn this_host(ha: &HaStatus, status: &Status) -> HostRow {
    let held = span(status.now.since(ha.since));
    let note = if ha.handing_over {
        (
            Tone::Odd,
            format!("handing over to the peer; {} for {held}", ha.role.as_str()),
        )
    } else if ha.stepped_back {
        let why = why_stepped_back(ha.address.owner);
        (Tone::Odd, format!("stepped back {held} ago: {why}"))
    } else {
        (Tone::Plain, format!("for {held}: {}", why(&ha.reason)))
    };
    HostRow {
        name: format!("{} (this)", status.node),
        role: (tone_of(ha.role), ha.role.as_str().to_owned()),
        priority: ha.priority.to_string(),
        note,
    }
}

/// Returns why this host stepped back from being active, as a clause: the address that moves was
/// seen elsewhere, or could not be confirmed to be on this host.
fn why_stepped_back(owner: AddressOwner) -> &'static str {
    match owner {
        AddressOwner::Other | AddressOwner::Nobody => {
            "the address is elsewhere and the peer is silent"
        }
        AddressOwner::This | AddressOwner::Unknown => {
            "the EC2 API does not answer and the peer is silent"
        }
    }
}

/// Returns what the name of a [`lb_ha::vrrp::Cause`] means, as a clause.
fn why(reason: &str) -> &str {
    match reason {
        "started" => "the agent started",
        "stopped" => "the agent is stopping",
        "silence" => "no active host was heard",
        "goodbye" => "the peer sent a goodbye",
        "preemption" => "its priority is higher",
        "handover" => "a hand-over",
        "higher_priority" => "the peer takes precedence",
        "fault" => "a tracked item failed",
        "recovered" => "all tracked items have recovered",
        "stepped_back" => "it stepped back",
        "address_here" => "the address was found here",
        "resumed" => "taken over from the previous process",
        other => other,
    }
}

fn tone_of(role: State) -> Tone {
    match role {
        State::Master => Tone::Good,
        State::Backup => Tone::Plain,
        State::Init => Tone::Odd,
        State::Fault => Tone::Bad,
    }
}

fn other_host(ha: &HaStatus, status: &Status) -> HostRow {
    let peer = &ha.peer;
    let role = match peer.role {
        Some(role) => (tone_of(role), role.as_str().to_owned()),
        None => (Tone::Plain, "–".to_owned()),
    };
    let priority = peer.priority.map(|priority| priority.to_string());
    let note = match peer.role {
        Some(role) => heard(peer, role, &status.version),
        None => not_heard(ha),
    };
    HostRow {
        name: peer.node.clone().unwrap_or_else(|| peer.address.clone()),
        role,
        priority: priority.unwrap_or_else(|| "–".to_owned()),
        note,
    }
}

fn heard(peer: &PeerStatus, role: State, our_version: &str) -> (Tone, String) {
    let mut tone = Tone::Plain;
    let mut parts = Vec::new();
    match peer.ready.filter(|_| role == State::Backup) {
        Some(true) => parts.push("ready".to_owned()),
        Some(false) => {
            tone = Tone::Odd;
            parts.push("not ready to take over".to_owned());
        }
        None => {}
    }
    parts.extend(peer.heard.map(|seconds| format!("heard {}", ago(seconds))));
    let version = peer.version.as_deref();
    if let Some(version) = version.filter(|version| *version != our_version) {
        parts.push(format!("lb {version}"));
    }
    (tone, parts.join(", "))
}

fn not_heard(ha: &HaStatus) -> (Tone, String) {
    // A standby sends no adverts, so an active host without a link to it does not know whether it
    // runs.
    if ha.link.is_none() && ha.role == State::Master {
        return (
            Tone::Plain,
            "not visible (standby sends no adverts; no link configured)".to_owned(),
        );
    }
    let text = match ha.peer.heard {
        Some(seconds) => format!("not heard: last message {}", ago(seconds)),
        None => "not heard since this agent started".to_owned(),
    };
    (Tone::Bad, text)
}

/// Returns a problem if both hosts are active, or if neither is active although no hand-over of the
/// active role is in progress.
fn disagreement(ha: &HaStatus) -> Option<Fact> {
    let peer = ha.peer.role?;
    let text = match (ha.role, peer) {
        (State::Master, State::Master) => "both hosts report that they are active",
        (State::Master, _) | (_, State::Master) => return None,
        _ if ha.handing_over => return None,
        _ => "no host is active",
    };
    Some(Fact::new("PROBLEM", Tone::Bad, text))
}

fn address(ha: &HaStatus, now: Moment) -> Fact {
    let address = &ha.address;
    let active = ha.role == State::Master;
    let (about, (tone, mut text)) = match address.kind {
        AddressKind::ElasticIp => ("Elastic IP", elastic_ip(address, active, now)),
        AddressKind::VirtualIp => ("virtual IP", virtual_ip(address, active)),
        AddressKind::Commands => (
            "address",
            (
                Tone::Plain,
                "moved by the commands of [ha.notify]".to_owned(),
            ),
        ),
    };
    match address.moves {
        0 => {}
        1 => text.push_str(", moved to this host once"),
        moves => text.push_str(&format!(", moved to this host {} times", count(moves))),
    }
    Fact::new(about, tone, text)
}

fn elastic_ip(address: &AddressStatus, active: bool, now: Moment) -> (Tone, String) {
    let name = &address.name;
    match address.owner {
        AddressOwner::This => {
            let age = address.confirmed.map(|confirmed| now.since(confirmed));
            let confirmed = match age {
                Some(age) => format!("confirmed by the EC2 API {} ago", span(age)),
                None => "not confirmed by the EC2 API".to_owned(),
            };
            if !active {
                let text =
                    format!("{name} is on this host, {confirmed}, but this host is not active");
                return (Tone::Odd, text);
            }
            let is_fresh = age.is_some_and(|age| age <= STALE);
            let tone = if is_fresh { Tone::Plain } else { Tone::Odd };
            (tone, format!("{name} is on this host, {confirmed}"))
        }
        AddressOwner::Other => {
            let owner = address.owner_is.as_deref().unwrap_or("another host");
            let tone = if active { Tone::Bad } else { Tone::Plain };
            (tone, format!("{name} is on {owner}"))
        }
        AddressOwner::Nobody => {
            let tone = if active { Tone::Bad } else { Tone::Odd };
            (tone, format!("{name} is not associated"))
        }
        AddressOwner::Unknown => (
            Tone::Odd,
            format!("{name}: the EC2 API has not reported its owner yet"),
        ),
    }
}

fn virtual_ip(address: &AddressStatus, active: bool) -> (Tone, String) {
    let name = &address.name;
    match (address.owner == AddressOwner::This, active) {
        (true, true) => (Tone::Plain, format!("{name} is on this host")),
        (true, false) => (
            Tone::Odd,
            format!("{name} is on this host, but this host is not active"),
        ),
        (false, true) => (
            Tone::Bad,
            format!("{name} is not on this host, but this host is active"),
        ),
        (false, false) => (Tone::Plain, format!("{name} is not on this host")),
    }
}

fn address_error(ha: &HaStatus, now: Moment) -> Option<Fact> {
    let address = &ha.address;
    let error = address.error.as_ref()?;
    let is_api = address.kind == AddressKind::ElasticIp;
    let is_out_of_place = ha.role == State::Master && address.owner != AddressOwner::This;
    Some(match address.error_at {
        Some(at) => {
            let about = if is_api { "EC2 API" } else { "PROBLEM" };
            let tone = if is_out_of_place {
                Tone::Bad
            } else {
                Tone::Odd
            };
            Fact::new(about, tone, format!("{} ago: {error}", span(now.since(at))))
        }
        // An error without a time is an obstacle to moving the address that a check found before
        // any call failed: it needs action by the operator.
        None if is_api || is_out_of_place => Fact::new("PROBLEM", Tone::Bad, error.clone()),
        None => Fact::new("PROBLEM", Tone::Odd, error.clone()),
    })
}

fn link(link: &LinkStatus, now: Moment) -> Fact {
    let held = span(now.since(link.since));
    if link.up {
        let lag = link.lag.map(|lag| format!(", lag {}", milliseconds(lag)));
        let text = format!("up for {held}{}", lag.unwrap_or_default());
        return Fact::new("link", Tone::Plain, text);
    }
    let problem = link.problem.as_ref();
    let problem = problem.map(|problem| format!(": {problem}"));
    let text = format!("down for {held}{}", problem.unwrap_or_default());
    Fact::new("link", Tone::Bad, text)
}

fn flows(flows: &FlowsStatus) -> Fact {
    let (tone, state) = if flows.synced {
        (Tone::Plain, "synced")
    } else {
        (Tone::Odd, "not synced")
    };
    let (sent, received) = (count(flows.sent), count(flows.received));
    let mut text = format!("{state}: {sent} sent, {received} received");
    if flows.skipped > 0 {
        let skipped = counted(flows.skipped, "flow");
        text.push_str(&format!(", {skipped} not replicated"));
    }
    if let Some(seconds) = flows.last_full_pass {
        text.push_str(&format!("; last full pass {}", ago(seconds)));
    }
    Fact::new("flows", tone, text)
}

/// Returns a fact for each tracked item that fails, or one fact if all items are healthy.
fn tracked(tracked: &[TrackedStatus], now: Moment) -> Vec<Fact> {
    let failing = tracked.iter().filter(|one| !one.ok);
    let failing: Vec<_> = failing.map(|one| failure(one, now)).collect();
    match tracked.len() {
        0 => Vec::new(),
        all if failing.is_empty() => vec![Fact::new(
            "tracked",
            Tone::Plain,
            format!("{all} of {all} healthy"),
        )],
        _ => failing,
    }
}

fn failure(tracked: &TrackedStatus, now: Moment) -> Fact {
    let TrackedStatus { name, effect, .. } = tracked;
    let held = span(now.since(tracked.since));
    let tone = if effect == "fault" {
        Tone::Bad
    } else {
        Tone::Odd
    };
    let mut text = format!("{name} failing for {held}");
    if !effect.is_empty() {
        text.push_str(&format!(" ({effect})"));
    }
    if !tracked.message.is_empty() {
        text.push_str(&format!(": {}", tracked.message));
    }
    Fact::new("tracked", tone, text)
}

#[cfg(test)]
mod tests;
