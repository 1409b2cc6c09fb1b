//! The time bounds that the pair keeps: they are stated here, checked in every simulated run, and
//! quoted by the documentation.

use std::time::Duration;

use lb_ha::vrrp::Version;

use crate::{
    conditions::PROMPT,
    plan::{HostPlan, Plan},
};

/// Tolerance of the bounds: for a late timer, and for a few deliveries over a healthy network.
pub const MARGIN: Duration = Duration::from_millis(20);

/// Longest interval between the calls to DescribeAddresses by which a host asks the EC2 API which
/// host has the Elastic IP, in the first minute of its peer's silence: 250 ms, and at random up to
/// 20 % more.
pub const ALERT_LOOK: Duration = Duration::from_millis(300);

/// Longest interval between the calls to DescribeAddresses by which a host asks the EC2 API which
/// host has the Elastic IP, in normal operation and after the first minute of its peer's silence: 5
/// s, and at random up to 20 % more.
pub const CALM_LOOK: Duration = Duration::from_secs(6);

/// Time after the EC2 API has associated the Elastic IP with a host in which the API may still
/// answer DescribeAddresses with the host that had the Elastic IP before.
pub const SETTLE: Duration = Duration::from_secs(10);

/// How long a master that does not hear its standby assumes, without a confirmation, that it still
/// has the Elastic IP.
pub const LEASE: Duration = Duration::from_secs(30);

/// Longest time that an agent waits for the answer to a call to the EC2 API.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a host that handed over its role waits for the peer to have the Elastic IP.
pub const TAKING: Duration = Duration::from_secs(15);

/// For how much longer a host that handed over accepts packets that still arrive after the EC2 API
/// has moved the Elastic IP.
pub const ARRIVING: Duration = Duration::from_secs(1);

/// Longest time from the end of the last simulated trouble until the pair is calm: one host is
/// active, and the other is its standby. The longest preemption delay of the hosts is added to this
/// time.
///
/// A host that starts may wait 10 s for the health checks of its backends. Asking the other host
/// for the active role takes as long as requests may take to end and 5 s more; a hand-over in which
/// the Elastic IP does not reach the other host takes 15 s more. The EC2 API may answer
/// DescribeAddresses, for 10 s after it has associated the Elastic IP with a host, as if it had
/// not.
pub const CALM_WITHIN: Duration = Duration::from_secs(30);

/// Longest time for which a host that stepped back (it left the active role because another host
/// might have the Elastic IP) waits while it hears adverts of the other host, but has no link to
/// it; then it takes over by its priority.
pub const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// Time for which, after the pair has become calm (one host active, the other its standby), no host
/// changes its state and the Elastic IP does not move.
pub const STAYS_CALM: Duration = Duration::from_secs(60);

/// Returns the longest time in which a host of this run detects that the other one is lost: three
/// intervals of adverts and the skew. The skew is shorter than an interval, or in version 2 than a
/// second.
#[must_use]
pub fn detection(plan: &Plan) -> Duration {
    let of = |host: &HostPlan| {
        let skew = match host.vrrp.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => host.vrrp.interval,
        };
        host.vrrp.interval * 3 + skew
    };
    of(&plan.hosts[0]).max(of(&plan.hosts[1]))
}

/// Returns the longest time for which two hosts that hear each other may both be active. The host
/// that gives way hears an advert of the other one within an interval, or the advert after it if
/// that one is still lost.
#[must_use]
pub fn overlap_hearing(plan: &Plan) -> Duration {
    detection(plan) + MARGIN
}

/// Returns the longest time for which both hosts may be active after they were cut off from each
/// other in both directions at once, if they heard each other until then and the EC2 API answers.
///
/// The host that takes over gets the Elastic IP with one call to the EC2 API. The other host
/// notices the silence at about the same time, at most the interval of a heartbeat earlier or
/// later, and then calls DescribeAddresses every [`ALERT_LOOK`]. It makes three calls: one that was
/// in flight already, one whose answer is that another host has the Elastic IP, and one that
/// confirms this.
#[must_use]
pub fn overlap_cut(plan: &Plan) -> Duration {
    interval(plan) + ALERT_LOOK * 2 + PROMPT * 4 + MARGIN
}

/// Returns the longest time for which both hosts may be active if they cannot hear each other in
/// one or both directions, but did a moment ago, and the EC2 API answers.
///
/// The host that takes over gets the Elastic IP with one call to the EC2 API. If the other host
/// hears nothing, it notices the silence no later than one detection time after the first host did,
/// and then calls DescribeAddresses every [`ALERT_LOOK`]. It makes three calls: one that was in
/// flight already, one whose answer is that another host has the Elastic IP, and one that confirms
/// this. If the other host still hears, now and then, adverts of a master, it calls
/// DescribeAddresses with every advert, after a detection time at the latest. After the first
/// answer that another host has the Elastic IP, it waits for two more detection times.
#[must_use]
pub fn overlap_fresh(plan: &Plan) -> Duration {
    let calls = PROMPT * 4 + MARGIN;
    let deaf = detection(plan) + ALERT_LOOK * 2 + calls;
    let hearing = detection(plan) * 3 + ALERT_LOOK + interval(plan) + calls;
    deaf.max(hearing)
}

/// Returns the bound that is like [`overlap_fresh`], but applies if the hosts have been silent for
/// long, or never heard each other: the first call to DescribeAddresses whose answer is that
/// another host has the Elastic IP may then be made up to [`CALM_LOOK`] later.
#[must_use]
pub fn overlap_calm(plan: &Plan) -> Duration {
    overlap_fresh(plan) + CALM_LOOK
}

/// Returns the bound that is like [`overlap_calm`], but applies if both hosts took the Elastic IP
/// at about the same time, so that one host lost the Elastic IP before the EC2 API had confirmed
/// that this host had it. An answer to DescribeAddresses that another host has the Elastic IP may
/// then be stale, so that host waits for [`SETTLE`] before it takes the Elastic IP again, and then
/// the other host finds that it has lost the Elastic IP. The bound also applies to an agent that
/// was suspended while its call was accepted.
#[must_use]
pub fn overlap_contested(plan: &Plan) -> Duration {
    SETTLE + overlap_calm(plan)
}

/// Returns the longest time for which both hosts of a pair whose agents have a link may believe to
/// have the Elastic IP, whatever the network and the EC2 API do. A host that does not hear its
/// standby steps back [`LEASE`] after the last confirmation that it has the Elastic IP; that
/// confirmation may be the answer to a slow call, and show a past state of the Elastic IP.
#[must_use]
pub fn overlap_sure(plan: &Plan) -> Duration {
    LEASE + SETTLE + CALL_LIMIT + detection(plan) + MARGIN
}

fn interval(plan: &Plan) -> Duration {
    let [a, b] = &plan.hosts;
    a.vrrp.interval.max(b.vrrp.interval)
}
