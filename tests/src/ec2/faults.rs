//! What can be wrong with the API.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// What is wrong with the API now. Set it through [`super::FakeEc2::faults`]; by default nothing is.
///
/// The spans end by themselves: `faults.throttled = Faults::lasting(Duration::from_secs(30))`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Until then every call is answered with 503, `RequestLimitExceeded`.
    pub throttled: Option<Instant>,
    /// Until then every call is answered with 500, `InternalError`.
    pub failing: Option<Instant>,
    /// Until then every call is taken and never answered, nor carried out.
    pub hanging: Option<Instant>,
    /// Until then every call is carried out and answered with what is no XML.
    pub babbling: Option<Instant>,
    /// These actions are answered with 403, `UnauthorizedOperation`; with `DryRun` too.
    pub denied: BTreeSet<String>,
    /// An address that is assigned to its own interface once more is refused. What AWS does then
    /// is not documented.
    pub refuses_to_reassign: bool,
    /// How long a call takes to be carried out. It is carried out even if its caller gives up.
    pub delay: Duration,
    /// How long the answer takes after that.
    pub answer_delay: Duration,
    /// How far what is described is behind the truth.
    pub stale: Duration,
    /// How far AWS's network is behind the API: on AWS a move takes 5 to 6 s.
    pub settling: Duration,
}

impl Faults {
    /// The end of a span that begins now.
    #[must_use]
    pub fn lasting(span: Duration) -> Option<Instant> {
        Instant::now().checked_add(span)
    }

    /// What a call that comes now meets before anything else.
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

/// What befalls a call instead of being carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Hang,
    Throttle,
    Fail,
}
