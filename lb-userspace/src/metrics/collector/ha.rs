//! The families of the pair. Those that do not apply are left out.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Samples, families, unix_seconds};
use crate::metrics::readings::{ElasticIpReading, FlowsReading, HaReading, LinkReading};

const STATES: [&str; 4] = ["init", "backup", "master", "fault"];
const OWNERS: [&str; 4] = ["self", "other", "nobody", "unknown"];

impl HaReading {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_router(encoder)?;
        self.encode_adverts(encoder)?;
        self.encode_changes(encoder)?;
        if let Some(elastic_ip) = &self.elastic_ip {
            elastic_ip.encode(encoder)?;
        }
        if let Some(held) = self.virtual_ip_held {
            Samples::begin(encoder, &families::VIRTUAL_IP_HELD)?.gauge(&[], number(held))?;
        }
        if let Some(link) = &self.link {
            link.encode(encoder)?;
        }
        if let Some(flows) = &self.flows {
            flows.encode(encoder)?;
        }
        Ok(())
    }

    fn encode_router(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(encoder, &families::VRRP_STATE)?.one_of(&STATES, self.state)?;
        let priority = f64::from(self.priority);
        Samples::begin(encoder, &families::VRRP_PRIORITY)?.gauge(&[], priority)?;
        let stepped_back = number(self.stepped_back);
        Samples::begin(encoder, &families::VRRP_STEPPED_BACK)?.gauge(&[], stepped_back)?;
        let mut tracked = Samples::begin(encoder, &families::TRACK_OK)?;
        for (name, ok) in &self.tracked {
            tracked.gauge(&[name], number(*ok))?;
        }
        Ok(())
    }

    fn encode_adverts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(encoder, &families::ADVERTS_SENT)?.counter(&[], &self.adverts_sent)?;
        let received = &self.adverts_received;
        Samples::begin(encoder, &families::ADVERTS_RECEIVED)?.counter(&[], received)?;
        Samples::begin(encoder, &families::ADVERTS_REFUSED)?.counters(&self.adverts_refused)?;
        Samples::begin(encoder, &families::ADVERT_ERRORS)?.counter(&[], &self.advert_errors)
    }

    fn encode_changes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(encoder, &families::FAILOVERS)?.counters(&self.failovers)?;
        let mut transitions = Samples::begin(encoder, &families::VRRP_TRANSITIONS)?;
        for (state, reason, count) in &self.transitions {
            transitions.counter(&[state, reason], count)?;
        }
        let mut runs = Samples::begin(encoder, &families::NOTIFY_RUNS)?;
        for (state, outcome, count) in &self.notify_runs {
            runs.counter(&[state, outcome], count)?;
        }
        Ok(())
    }
}

impl ElasticIpReading {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(encoder, &families::ELASTIC_IP_OWNER)?.one_of(&OWNERS, self.owner)?;
        if let Some(confirmed) = self.confirmed {
            let seconds = unix_seconds(confirmed);
            Samples::begin(encoder, &families::ELASTIC_IP_CONFIRMED)?.gauge(&[], seconds)?;
        }
        let mut calls = Samples::begin(encoder, &families::ELASTIC_IP_CALLS)?;
        for (operation, outcome, count) in &self.calls {
            calls.counter(&[operation, outcome], count)?;
        }
        let mut seconds = Samples::begin(encoder, &families::ELASTIC_IP_CALL_SECONDS)?;
        for one in &self.call_seconds {
            seconds.histogram(&[one.operation], &one.buckets, one.sum)?;
        }
        Samples::begin(encoder, &families::ELASTIC_IP_MOVES)?.counter(&[], &self.moves)
    }
}

impl LinkReading {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Samples::begin(encoder, &families::PEER_LINK_UP)?.gauge(&[], number(self.up))?;
        if let Some(lag) = self.lag {
            Samples::begin(encoder, &families::PEER_LINK_LAG)?.gauge(&[], lag)?;
        }
        Samples::begin(encoder, &families::PEER_LINK_REFUSED)?.counters(&self.refused)?;
        let bytes = [("in", self.bytes_in), ("out", self.bytes_out)];
        Samples::begin(encoder, &families::PEER_LINK_BYTES)?.counters(&bytes)
    }
}

impl FlowsReading {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let synced = number(self.synced);
        Samples::begin(encoder, &families::PEER_FLOWS_SYNCED)?.gauge(&[], synced)?;
        Samples::begin(encoder, &families::PEER_FLOWS_SENT)?.counter(&[], &self.sent)?;
        Samples::begin(encoder, &families::PEER_FLOWS_RECEIVED)?.counter(&[], &self.received)?;
        Samples::begin(encoder, &families::PEER_FLOWS_SKIPPED)?.counters(&self.skipped)?;
        let lost = &self.events_lost;
        Samples::begin(encoder, &families::PEER_FLOW_EVENTS_LOST)?.counter(&[], lost)
    }
}

impl Samples<'_> {
    /// A counter for every value of the only label.
    fn counters(&mut self, counts: &[(&str, u64)]) -> fmt::Result {
        for (value, count) in counts {
            self.counter(&[value], count)?;
        }
        Ok(())
    }

    /// 1 for the one of the words that is so, 0 for the others.
    fn one_of(&mut self, words: &[&str], so: &str) -> fmt::Result {
        for word in words {
            self.gauge(&[word], number(*word == so))?;
        }
        Ok(())
    }
}

fn number(so: bool) -> f64 {
    f64::from(u8::from(so))
}
