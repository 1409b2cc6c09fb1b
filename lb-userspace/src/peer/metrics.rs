//! The metrics of the link to the peer.

use std::fmt;

use super::{DownReason, View};
use crate::metrics::{Collector, DescriptorEncoder, Samples, families, flag};

families! {
    PEER_LINK_UP: Gauge "lb_peer_link_up" []
        "1 while the link to the peer's agent is up, 0 otherwise.";
    PEER_LINK_LAG: Gauge "lb_peer_link_lag_seconds" []
        "Round-trip time of the last ping over the link, in seconds.";
    PEER_LINK_REFUSED: Counter "lb_peer_link_refused_total" ["reason"]
        "Connections to the link's port that were refused, by reason.";
    PEER_LINK_BYTES: Counter "lb_peer_link_bytes_total" ["direction"]
        "Bytes over the link: in from the peer, out to the peer.";
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let connected = self.connected.as_ref();
        Samples::begin(encoder, &PEER_LINK_UP)?.gauge(&[], flag(connected.is_some()))?;
        if let Some(lag) = connected.and_then(|connected| connected.round_trip) {
            Samples::begin(encoder, &PEER_LINK_LAG)?.gauge(&[], lag.as_secs_f64())?;
        }
        let refused = self
            .refused
            .iter()
            .map(|(refusal, count)| (refusal.word(), *count));
        let malformed = self
            .downs
            .iter()
            .copied()
            .filter(|(word, _)| *word == DownReason::MALFORMED);
        Samples::begin(encoder, &PEER_LINK_REFUSED)?.counters(refused.chain(malformed))?;
        let bytes = [("in", self.received.bytes), ("out", self.sent.bytes)];
        Samples::begin(encoder, &PEER_LINK_BYTES)?.counters(bytes)
    }
}
