//! The metrics of the replication of flows between the hosts of a pair.

use std::fmt;

use super::FlowCounters;
use crate::metrics::{Collector, DescriptorEncoder, Samples, families, flag};

families! {
    PEER_FLOWS_SYNCED: Gauge "lb_peer_flows_synced" []
        "1 while the link to the peer is up and this host has all flows of the peer, 0 otherwise.";
    PEER_FLOWS_SENT: Counter "lb_peer_flows_sent_total" []
        "Flows sent to the peer.";
    PEER_FLOWS_RECEIVED: Counter "lb_peer_flows_received_total" []
        "Flows received from the peer and imported.";
    PEER_FLOWS_SKIPPED: Counter "lb_peer_flows_skipped_total" ["reason"]
        "Flows of the peer that were not imported, and flows that cannot be sent to the peer.";
    PEER_FLOW_EVENTS_LOST: Counter "lb_peer_flow_events_lost_total" []
        "Flow events from the kernel that were lost because the event buffer was full.";
}

/// The state of the replication of flows at the moment of a scrape.
#[derive(Clone, Debug)]
pub struct FlowMetrics {
    /// The counters of the replication.
    pub counters: FlowCounters,
    /// Whether the link to the peer is up and this host has all flows that the peer has.
    pub synced: bool,
}

impl Collector for FlowMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let counters = &self.counters;
        Samples::begin(encoder, &PEER_FLOWS_SYNCED)?.gauge(&[], flag(self.synced))?;
        Samples::begin(encoder, &PEER_FLOWS_SENT)?.counter(&[], &counters.sent)?;
        Samples::begin(encoder, &PEER_FLOWS_RECEIVED)?.counter(&[], &counters.imported)?;
        Samples::begin(encoder, &PEER_FLOWS_SKIPPED)?.counters(counters.skipped.iter().copied())?;
        Samples::begin(encoder, &PEER_FLOW_EVENTS_LOST)?.counter(&[], &counters.overflowed)
    }
}
