//! The metrics of discovery.

use std::fmt;

use super::{QueryCounts, SourceState};
use crate::{
    config::Name,
    metrics::{Collector, DescriptorEncoder, Samples, families, flag, unix_seconds},
};

families! {
    BACKENDS: Gauge "lb_discovery_backends" ["pool"]
        "Backends that the source of a pool has.";
    LEAVING: Gauge "lb_discovery_leaving_backends" ["pool"]
        "Backends that the source of a pool no longer has, and that are drained.";
    EXCLUDED: Gauge "lb_discovery_excluded_backends" ["pool"]
        "Backends of a source that cannot be used in their pool.";
    FAILING: Gauge "lb_discovery_failing" ["pool"]
        "1 while the source of a pool fails or answers without backends, 0 otherwise.";
    LAST_ANSWER: Gauge "lb_discovery_last_answer_timestamp_seconds" ["pool"]
        "When the source of a pool last answered with backends, in seconds since 1970.";
    QUERIES: Counter "lb_discovery_queries_total" ["pool", "outcome"]
        "Queries of the source of a pool, by outcome.";
}

/// The state of each pool's discovery at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryMetrics(pub Vec<DiscoveryReading>);

/// The state of one pool's discovery.
#[derive(Clone, Debug)]
pub struct DiscoveryReading {
    /// The name of the pool.
    pub pool: Name,
    /// Number of backends that the source has.
    pub backends: usize,
    /// Number of backends that the source no longer has, and that are drained.
    pub leaving: usize,
    /// Number of backends that cannot be used in the pool.
    pub excluded: usize,
    /// How the source answers.
    pub source: SourceState,
    /// How many queries had each outcome.
    pub queries: QueryCounts,
}

impl Collector for DiscoveryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        type Gauge = (
            &'static crate::metrics::Family,
            fn(&DiscoveryReading) -> Option<f64>,
        );
        let gauges: [Gauge; 5] = [
            (&BACKENDS, |one| Some(number(one.backends))),
            (&LEAVING, |one| Some(number(one.leaving))),
            (&EXCLUDED, |one| Some(number(one.excluded))),
            (&FAILING, |one| {
                Some(flag(one.source.failing_since.is_some()))
            }),
            (&LAST_ANSWER, |one| one.source.answered.map(unix_seconds)),
        ];
        for (family, value) in gauges {
            let mut samples = Samples::begin(&mut encoder, family)?;
            for one in &self.0 {
                if let Some(value) = value(one) {
                    samples.gauge(&[one.pool.as_str()], value)?;
                }
            }
        }
        let mut queries = Samples::begin(&mut encoder, &QUERIES)?;
        for DiscoveryReading {
            pool,
            queries: counts,
            ..
        } in &self.0
        {
            let outcomes = [
                ("answered", counts.answered),
                ("empty", counts.empty),
                ("failed", counts.failed),
            ];
            for (outcome, count) in outcomes {
                queries.counter(&[pool.as_str(), outcome], &count)?;
            }
        }
        Ok(())
    }
}

/// Converts a count to the number of a sample, which is exact below 2^53.
fn number(count: usize) -> f64 {
    count as f64
}
