//! The metrics of the Elastic IP and of calls to the EC2 API.

use std::{fmt, time::SystemTime};

use crate::{
    admin::AddressOwner,
    agent::{pair::PairSnapshot, report::ha::owner},
    aws::{self, DURATION_BOUNDS},
    config::{Ha, Moves},
    metrics::{Collector, DescriptorEncoder, Samples, families, unix_seconds},
};

families! {
    ELASTIC_IP_OWNER: Gauge "lb_elastic_ip_owner" ["owner"]
        "1 for the last known owner of the Elastic IP, 0 for the others.";
    ELASTIC_IP_CONFIRMED: Gauge "lb_elastic_ip_confirmed_timestamp_seconds" []
        "When the Elastic IP was last confirmed to be on this host, in seconds since 1970-01-01 UTC.";
    ELASTIC_IP_CALLS: Counter "lb_elastic_ip_calls_total" ["operation", "outcome"]
        "Completed calls to the EC2 API, by outcome.";
    ELASTIC_IP_CALL_SECONDS: Histogram "lb_elastic_ip_call_seconds" ["operation"]
        "Duration of calls to the EC2 API, in seconds.";
    ELASTIC_IP_MOVES: Counter "lb_elastic_ip_moves_total" []
        "Number of times that this host moved the Elastic IP to itself.";
}

const OWNERS: [AddressOwner; 4] = [
    AddressOwner::This,
    AddressOwner::Other,
    AddressOwner::Nobody,
    AddressOwner::Unknown,
];

/// The state of the Elastic IP at the moment of a scrape.
#[derive(Clone, Debug)]
pub(super) struct ElasticIpMetrics {
    pub(super) owner: AddressOwner,
    /// When the Elastic IP was last confirmed to be on this host; `None` if it was not since the
    /// agent started.
    pub(super) confirmed: Option<SystemTime>,
    pub(super) counters: aws::Counters,
    /// Number of times that this host moved the Elastic IP to itself since the agent started.
    pub(super) moves: u64,
}

impl ElasticIpMetrics {
    /// Returns the present values of the Elastic IP's metrics; `None` if the configuration has no
    /// Elastic IP.
    pub(super) fn new(ha: &Ha, known: &PairSnapshot) -> Option<Self> {
        let ec2 = known.ec2.as_ref()?;
        matches!(ha.moves, Moves::ElasticIp(_)).then(|| Self {
            owner: owner(Some(ec2)),
            confirmed: known.view.confirmed.map(|moment| known.clock.when(moment)),
            counters: ec2.view.counters.clone(),
            moves: u64::from(known.view.moves),
        })
    }
}

impl Collector for ElasticIpMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let owners = OWNERS.map(AddressOwner::as_str);
        Samples::begin(encoder, &ELASTIC_IP_OWNER)?.state(&[], &owners, self.owner.as_str())?;
        if let Some(confirmed) = self.confirmed {
            let seconds = unix_seconds(confirmed);
            Samples::begin(encoder, &ELASTIC_IP_CONFIRMED)?.gauge(&[], seconds)?;
        }
        let mut calls = Samples::begin(encoder, &ELASTIC_IP_CALLS)?;
        for call in &self.counters.calls {
            calls.counter(&[call.operation.name(), call.outcome], &call.count)?;
        }
        let mut seconds = Samples::begin(encoder, &ELASTIC_IP_CALL_SECONDS)?;
        for one in &self.counters.durations {
            let durations = &one.durations;
            let labels = [one.operation.name()];
            seconds.histogram(&labels, &DURATION_BOUNDS, &durations.buckets, durations.sum)?;
        }
        Samples::begin(encoder, &ELASTIC_IP_MOVES)?.counter(&[], &self.moves)
    }
}
