//! Time bounds: stated here, checked in every run, quoted by the documentation.

use std::time::Duration;

use lb_ha::vrrp::Version;

use crate::{
    conditions::PROMPT,
    plan::{HostPlan, Plan},
};

/// Tolerance for a late timer and for a few deliveries over a healthy network.
pub const MARGIN: Duration = Duration::from_millis(20);

/// Longest interval between descriptions of the address shortly after the peer fell silent: 250 ms and
/// a fifth.
pub const ALERT_LOOK: Duration = Duration::from_millis(300);

/// Longest interval between descriptions in normal operation, or when the peer has been silent for
/// long: 5 s and a fifth.
pub const CALM_LOOK: Duration = Duration::from_secs(6);

/// Time after an association in which descriptions may be stale.
pub const SETTLE: Duration = Duration::from_secs(10);

/// Time for which a master that does not hear its standby assumes that it still has the address.
pub const LEASE: Duration = Duration::from_secs(30);

/// Longest duration of a call of the EC2 API.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Time that a host which handed over waits for the peer to have the address.
pub const TAKING: Duration = Duration::from_secs(15);

/// Additional time for which that host accepts packets that still arrive after the EC2 API has moved
/// the address.
pub const ARRIVING: Duration = Duration::from_secs(1);

/// Time after the last trouble within which the pair is calm; the preemption delay is added to it.
///
/// A host that starts may wait 10 s for its backends. Asking for the role takes as long as requests
/// may take to end and 5 s more, handing it over 15 s more where the address does not come. A
/// description may be 10 s behind an association.
pub const CALM_WITHIN: Duration = Duration::from_secs(30);

/// A host that stepped back, and hears the other one by adverts alone, takes over by its priority
/// no later than this.
pub const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// Time after the pair has become calm in which nothing changes and the address does not move.
pub const STAYS_CALM: Duration = Duration::from_secs(60);

/// The longest detection time of a host of this run: three intervals and the skew, which is less than
/// an interval, or than a second in version 2.
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

/// Two hosts that hear each other are both active no longer than this: one hears an advert of the
/// other within an interval, but may have to lose one of its own first.
#[must_use]
pub fn overlap_hearing(plan: &Plan) -> Duration {
    detection(plan) + MARGIN
}

/// Two hosts that are cut off from each other in both directions at once, with an EC2 API that
/// answers, when they heard each other a moment ago: the taker's association is served within one
/// call. The other host noticed the silence at about the same time, by the interval of a heartbeat
/// sooner or later, and looks every [`ALERT_LOOK`]: a look that was under way, one that shows the
/// address elsewhere, and one that makes sure of it.
#[must_use]
pub fn overlap_cut(plan: &Plan) -> Duration {
    interval(plan) + ALERT_LOOK * 2 + PROMPT * 4 + MARGIN
}

/// Two hosts that cannot hear each other in some way, with an EC2 API that answers, when they heard each
/// other a moment ago.
///
/// The taker's association is served within one call. Where the other host hears nothing, it notices
/// that no later than one detection time after the taker did, and looks every [`ALERT_LOOK`]: a look
/// that was under way, one that shows the address elsewhere, and one that makes sure of it. Where it
/// still hears the taker now and then, as a master, it looks with every advert: after a detection time
/// at the latest. From the first look that shows the address elsewhere it is patient for two more.
#[must_use]
pub fn overlap_fresh(plan: &Plan) -> Duration {
    let calls = PROMPT * 4 + MARGIN;
    let deaf = detection(plan) + ALERT_LOOK * 2 + calls;
    let hearing = detection(plan) * 3 + ALERT_LOOK + interval(plan) + calls;
    deaf.max(hearing)
}

/// Like [`overlap_fresh`], but when the silence is old, or the other host was never heard: the first
/// look that shows the address elsewhere may be [`CALM_LOOK`] away.
#[must_use]
pub fn overlap_calm(plan: &Plan) -> Duration {
    overlap_fresh(plan) + CALM_LOOK
}

/// Like [`overlap_calm`], but when both hosts took the address at about the same time, so one lost it
/// before the API had confirmed it. A description that shows the address elsewhere may then be stale,
/// so that host waits for [`SETTLE`] before it takes the address again, and the other one finds it
/// elsewhere. This bound also holds for an agent that was suspended while its call was accepted.
#[must_use]
pub fn overlap_contested(plan: &Plan) -> Duration {
    SETTLE + overlap_calm(plan)
}

/// With a link, whatever the network and the EC2 API do: two hosts are sure to have the address no
/// longer than this. A host that does not hear its standby steps back 30 s after the last
/// confirmation, which may be the answer to a slow call and show the past.
#[must_use]
pub fn overlap_sure(plan: &Plan) -> Duration {
    LEASE + SETTLE + CALL_LIMIT + detection(plan) + MARGIN
}

fn interval(plan: &Plan) -> Duration {
    let [a, b] = &plan.hosts;
    a.vrrp.interval.max(b.vrrp.interval)
}
