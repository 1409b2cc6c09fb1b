//! Faults of the fake EC2 API.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The current faults, set through [`super::FakeEc2::faults`]; none by default.
///
/// Faults that are set to a time end by themselves: `faults.throttled =
/// Faults::lasting(Duration::from_secs(30))`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The actions, such as `DescribeInstances`, that `throttled`, `failing`, `hanging` and
    /// `babbling` apply to; every action if it is empty.
    pub only: BTreeSet<String>,
    /// Until this time every call is answered with status 503, `RequestLimitExceeded`, or one of
    /// Auto Scaling with status 400, `Throttling`.
    pub throttled: Option<Instant>,
    /// Until this time every call is answered with status 500, `InternalError`.
    pub failing: Option<Instant>,
    /// Until this time every call is received, but neither executed nor answered.
    pub hanging: Option<Instant>,
    /// Until this time every call is executed, and answered with invalid XML.
    pub babbling: Option<Instant>,
    /// Whether `DescribeInstances` and `DescribeAutoScalingGroups` return empty lists.
    pub empty: bool,
    /// Maximum number of instances or groups that `DescribeInstances` and
    /// `DescribeAutoScalingGroups` return in an answer, also if the call permits more; the rest is
    /// for the next call.
    pub page_size: Option<usize>,
    /// These actions are answered with status 403, `UnauthorizedOperation`, also as dry runs; one
    /// of Auto Scaling with `AccessDenied`.
    pub denied: BTreeSet<String>,
    /// Whether the fake EC2 API refuses to assign an address to the interface that already has it.
    /// What AWS does in this case is not documented.
    pub refuses_to_reassign: bool,
    /// Time that executing a call takes; a call is executed even if its caller gives up meanwhile.
    pub delay: Duration,
    /// Additional delay of the response, after the call has been executed.
    pub answer_delay: Duration,
    /// How far back in time the state of the account lies that calls such as DescribeAddresses
    /// return.
    pub stale: Duration,
    /// How far AWS's network lags behind the EC2 API: on AWS the move of an Elastic IP takes effect
    /// after 5 to 6 s.
    pub settling: Duration,
}

impl Faults {
    /// Returns the time at which a fault ends that begins now and lasts for `span`.
    #[must_use]
    pub fn lasting(span: Duration) -> Option<Instant> {
        Instant::now().checked_add(span)
    }

    /// Returns the fault that a call of this action meets if it arrives now; `None` if there is
    /// none.
    pub(super) fn of(&self, action: &str) -> Option<Fault> {
        if !self.concern(action) {
            return None;
        }
        let now = Instant::now();
        let lasts = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if lasts(self.hanging) {
            return Some(Fault::Hang);
        }
        if lasts(self.throttled) {
            return Some(Fault::Throttle);
        }
        lasts(self.failing).then_some(Fault::Fail)
    }

    pub(super) fn babbles(&self, action: &str) -> bool {
        self.concern(action) && self.babbling.is_some_and(|until| Instant::now() < until)
    }

    fn concern(&self, action: &str) -> bool {
        self.only.is_empty() || self.only.contains(action)
    }
}

/// A fault that a call meets before it is executed, so that it is not executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Hang,
    Throttle,
    Fail,
}
