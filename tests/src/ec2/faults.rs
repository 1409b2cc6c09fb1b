//! Faults of the fake API.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The current faults, set through [`super::FakeEc2::faults`]; none by default.
///
/// Time spans end automatically: `faults.throttled = Faults::lasting(Duration::from_secs(30))`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Until then every call is answered with 503, `RequestLimitExceeded`.
    pub throttled: Option<Instant>,
    /// Until then every call is answered with 500, `InternalError`.
    pub failing: Option<Instant>,
    /// Until then every call is received, but neither executed nor answered.
    pub hanging: Option<Instant>,
    /// Until then every call is executed, and answered with invalid XML.
    pub babbling: Option<Instant>,
    /// These actions are answered with 403, `UnauthorizedOperation`; with `DryRun` too.
    pub denied: BTreeSet<String>,
    /// An address that is assigned to its own interface once more is refused. What AWS does then
    /// is not documented.
    pub refuses_to_reassign: bool,
    /// Duration of executing a call, which happens even if its caller gives up.
    pub delay: Duration,
    /// Delay of the response after that.
    pub answer_delay: Duration,
    /// Delay of descriptions behind the true state.
    pub stale: Duration,
    /// Delay of AWS's network behind the API: on AWS a move takes 5 to 6 s.
    pub settling: Duration,
}

impl Faults {
    /// End of a time span that begins now.
    #[must_use]
    pub fn lasting(span: Duration) -> Option<Instant> {
        Instant::now().checked_add(span)
    }

    /// The fault of a call that arrives now.
    pub(super) fn of_the_whole_api(&self) -> Option<Fault> {
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

    pub(super) fn babbles(&self) -> bool {
        self.babbling.is_some_and(|until| Instant::now() < until)
    }
}

/// Fault that replaces the execution of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Hang,
    Throttle,
    Fail,
}
