//! Registers the metrics collectors of all modules of the agent for one scrape.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use super::Observed;
use crate::{
    access_log, acme,
    agent::{pair::PairSnapshot, shared::State},
    config::{Ha, Name},
    dataplane::{
        self, SourcePorts,
        flows::{self, FlowMetrics},
    },
    discovery,
    ha::{self, HaMetrics},
    metrics::{
        Collector, DescriptorEncoder, Family, PROCESS_FAMILIES, ProcessReading, Registry, Samples,
        families,
    },
    peer,
    pool::{self, BackendKey, BackendReading, PoolMetrics},
    proxy::{self, PoolUsage},
};

mod elastic_ip;
mod role;

families! {
    BUILD_INFO: Gauge "lb_build_info" ["version", "node"]
        "Always 1; the labels identify the agent.";
}

/// Returns all metric families of the agent, in the order in which a scrape shows them.
/// `docs/metrics.md` lists them.
pub fn metric_families() -> impl Iterator<Item = &'static Family> {
    ALL_FAMILIES.into_iter().flatten()
}

const ALL_FAMILIES: [&[Family]; 14] = [
    FAMILIES,
    dataplane::METRICS,
    pool::METRICS,
    discovery::METRICS,
    proxy::METRICS,
    access_log::METRICS,
    proxy::CERTIFICATE_METRICS,
    acme::METRICS,
    role::FAMILIES,
    ha::METRICS,
    elastic_ip::FAMILIES,
    peer::METRICS,
    flows::METRICS,
    PROCESS_FAMILIES,
];

/// The version of the agent and the name of its host, as a metric.
#[derive(Debug)]
struct Build {
    node: Name,
}

impl Collector for Build {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let mut build = Samples::begin(&mut encoder, &BUILD_INFO)?;
        build.gauge(&[version, self.node.as_str()], 1.0)
    }
}

/// Registers the collectors of the data plane, the pools, the front and the process, and those of
/// the pair if the host has a peer.
pub(super) fn registry(
    observed: Observed,
    source_ports: Arc<[SourcePorts]>,
    orders: acme::OrderMetrics,
    state: &State,
    pair: Option<(&Ha, PairSnapshot)>,
    started: SystemTime,
) -> Registry {
    let mut registry = Registry::default();
    let mut register = |collector: Box<dyn Collector>| registry.register_collector(collector);
    register(Box::new(Build {
        node: state.config.node.name.clone(),
    }));
    register(Box::new(dataplane::KernelMetrics {
        attachments: observed.attachments,
        counters: observed.kernel.unwrap_or_else(|error| {
            tracing::error!(error, "the kernel's counters are missing from this scrape");
            dataplane::Counters::default()
        }),
        source_ports,
    }));
    register(Box::new(pools(state, &observed.usage)));
    register(Box::new(discovery::DiscoveryMetrics(
        state.discovered.readings(),
    )));
    register(Box::new(observed.http));
    register(Box::new(observed.log));
    register(Box::new(proxy::CertificateMetrics(observed.certificates)));
    register(Box::new(orders));
    if let Some((ha, known)) = pair {
        register_pair(&mut registry, ha, known);
    }
    registry.register_collector(Box::new(ProcessReading::now(started)));
    registry
}

fn register_pair(registry: &mut Registry, ha: &Ha, known: PairSnapshot) {
    registry.register_collector(Box::new(role::RoleMetrics::new(&known)));
    let elastic_ip = elastic_ip::ElasticIpMetrics::new(ha, &known);
    registry.register_collector(Box::new(HaMetrics {
        adverts: known.adverts,
        tracked: known.tracked,
        notified: known.notified,
        addresses: known.addresses,
    }));
    if let Some(elastic_ip) = elastic_ip {
        registry.register_collector(Box::new(elastic_ip));
    }
    if let Some(link) = known.link {
        registry.register_collector(Box::new(link.view));
    }
    if let Some((flows, synced)) = known.flows {
        let counters = flows.counters();
        registry.register_collector(Box::new(FlowMetrics { counters, synced }));
    }
}

fn pools(state: &State, usage: &HashMap<Name, PoolUsage>) -> PoolMetrics {
    let views = || state.registry.views();
    let backends = views().flat_map(|view| {
        let backends = view.pool.backends.iter().zip(&view.states);
        let outlier = view.pool.per_request.outlier.as_ref();
        let usage = usage.get(&view.pool.name);
        backends.map(move |(backend, now)| {
            let id = BackendKey::of(&view.pool, backend);
            BackendReading {
                pool: view.pool.name.clone(),
                backend: backend.name.clone(),
                state: *now,
                ejected: outlier.map(|_rules| {
                    let usage = usage.and_then(|usage| usage.backends.get(&backend.address));
                    usage.is_some_and(|usage| usage.ejected_for.is_some())
                }),
                check: state.records.last(&id).map(|last| last.duration),
            }
        })
    });
    PoolMetrics {
        backends: backends.collect(),
        pools: views()
            .map(|view| (view.pool.name.clone(), view.all_down().is_some()))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
