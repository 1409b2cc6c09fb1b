//! The metrics of this host's role in the pair.

use std::{collections::BTreeMap, fmt};

use lb_ha::vrrp::{Cause, State};

use crate::{
    agent::pair::PairSnapshot,
    metrics::{Collector, DescriptorEncoder, Samples, families, flag},
};

families! {
    VRRP_STATE: Gauge "lb_vrrp_state" ["state"]
        "1 for the current state of this host's virtual router, 0 for the other states.";
    VRRP_PRIORITY: Gauge "lb_vrrp_priority" []
        "Effective priority of this host, including the weights of tracked items.";
    VRRP_STEPPED_BACK: Gauge "lb_vrrp_stepped_back" []
        "1 while this host has stepped back, hearing no peer and unable to confirm the Elastic IP as its own.";
    FAILOVERS: Counter "lb_failovers_total" ["reason"]
        "Number of times that this host became active, by reason.";
    VRRP_TRANSITIONS: Counter "lb_vrrp_transitions_total" ["state", "reason"]
        "State changes of this host's virtual router, by new state and reason.";
}

/// This host's role at the moment of a scrape.
#[derive(Clone, Debug)]
pub(super) struct RoleMetrics {
    pub(super) state: State,
    /// This host's effective priority, 1 to 254, including the weights of tracked objects.
    pub(super) priority: u8,
    pub(super) stepped_back: bool,
    /// Number of times that this host entered each state, by cause. Counts of zero are omitted.
    pub(super) transitions: BTreeMap<(State, Cause), u64>,
}

impl RoleMetrics {
    pub(super) fn new(known: &PairSnapshot) -> Self {
        Self {
            state: known.view.state,
            priority: known.view.priority,
            stepped_back: known.view.stepped_back,
            transitions: known.transitions.clone(),
        }
    }

    /// Returns the number of times that this host entered each state, by cause, with a 0 for each
    /// cause that has not occurred yet.
    fn all_transitions(&self) -> BTreeMap<(State, Cause), u64> {
        let possible = State::ALL.into_iter().flat_map(|state| {
            let causes = state.causes().iter();
            causes.map(move |cause| ((state, *cause), 0))
        });
        // A process that continues as master after an upgrade is not counted.
        let counted = possible.filter(|((_, cause), _)| *cause != Cause::Resumed);
        let mut transitions: BTreeMap<_, _> = counted.collect();
        transitions.extend(&self.transitions);
        transitions
    }
}

impl Collector for RoleMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let states = State::ALL.map(State::as_str);
        Samples::begin(encoder, &VRRP_STATE)?.state(&[], &states, self.state.as_str())?;
        let priority = f64::from(self.priority);
        Samples::begin(encoder, &VRRP_PRIORITY)?.gauge(&[], priority)?;
        let stepped_back = flag(self.stepped_back);
        Samples::begin(encoder, &VRRP_STEPPED_BACK)?.gauge(&[], stepped_back)?;
        let transitions = self.all_transitions();
        let failovers = transitions.iter();
        let failovers = failovers.filter(|((state, _), _)| *state == State::Master);
        let failovers = failovers.map(|((_, cause), count)| (cause.as_str(), *count));
        Samples::begin(encoder, &FAILOVERS)?.counters(failovers)?;
        let mut samples = Samples::begin(encoder, &VRRP_TRANSITIONS)?;
        for ((state, cause), count) in &transitions {
            samples.counter(&[state.as_str(), cause.as_str()], count)?;
        }
        Ok(())
    }
}
