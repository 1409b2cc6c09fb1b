//! The readings for the metrics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use super::Observed;
use crate::{
    agent::shared::State,
    config::Name,
    dataplane,
    metrics::{
        BackendReading, CertificateReading, HandshakeReading, LatencyReading, ProcessReading,
        Readings, RequestReading,
    },
    pool::BackendId,
    proxy::{self, PoolUsage},
};

impl Observed {
    /// All that one scrape shows.
    pub(super) fn readings(self, state: &State, started: SystemTime) -> Readings {
        let http = self.http;
        Readings {
            version: env!("CARGO_PKG_VERSION"),
            node: state.config.node.name.clone(),
            attachments: self.attachments,
            kernel: self.kernel.unwrap_or_else(|error| {
                tracing::error!("the kernel's counters are missing from this scrape: {error}");
                dataplane::Counters::default()
            }),
            backends: backend_readings(state, &self.usage),
            pools: state
                .roster
                .views()
                .map(|view| (view.pool.name.clone(), view.all_down().is_some()))
                .collect(),
            handshakes: handshake_readings(&http.handshakes),
            requests: request_readings(http.requests),
            routed: http.routed,
            broken: by_backend(http.broken),
            own_answers: by_backend(http.own_answers),
            latencies: http.durations.into_iter().map(latency_reading).collect(),
            handshake_failures: by_service(http.handshake_failures),
            open_connections: http.open_connections,
            buffered_bytes: http.buffered_bytes,
            closed: by_service(http.closed),
            refusals: by_service(http.refusals),
            retries: http.retries,
            retries_refused: http.retries_refused,
            queued: http.queued,
            queue_waits: http.queue_waits,
            queue_rejections: http.queue_rejections,
            panics: http.panics,
            log: self.log,
            ejections: connection_readings(&http.backend_connections, |one| one.ejections),
            backend_connections: connection_readings(&http.backend_connections, |one| one.in_use),
            certificates: self
                .certificates
                .into_iter()
                .map(certificate_reading)
                .collect(),
            orders: Vec::new(),
            renewals_due: Vec::new(),
            source_ports: Arc::default(),
            ha: None,
            process: ProcessReading::now(started),
        }
    }
}

fn backend_readings(state: &State, usage: &HashMap<Name, PoolUsage>) -> Vec<BackendReading> {
    let views = state.roster.views();
    let readings = views.flat_map(|view| {
        let backends = view.pool.backends.iter().zip(&view.states);
        let outlier = view.pool.per_request.outlier.as_ref();
        let usage = usage.get(&view.pool.name);
        backends.map(move |(backend, now)| {
            let id = BackendId {
                pool: view.pool.name.clone(),
                address: backend.address,
            };
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
    readings.collect()
}

// The metrics have no label for the pool: backends of one name in two pools of a service are
// summed.

fn request_readings(counts: Vec<proxy::RequestCount>) -> Vec<RequestReading> {
    let mut sums = BTreeMap::new();
    for count in counts {
        let backend = count.backend.map(|(_pool, backend)| backend);
        *sums
            .entry((count.service, backend, count.code))
            .or_insert(0) += count.count;
    }
    let readings = sums
        .into_iter()
        .map(|((service, backend, code), requests)| RequestReading {
            service,
            backend,
            code,
            requests,
        });
    readings.collect()
}

fn connection_readings(
    counts: &[proxy::BackendConnections],
    which: impl Fn(&proxy::BackendConnections) -> u64,
) -> Vec<(Name, Name, u64)> {
    let mut sums = BTreeMap::new();
    for count in counts {
        let key = (count.service.clone(), count.backend.clone());
        *sums.entry(key).or_insert(0) += which(count);
    }
    let readings = sums.into_iter();
    readings
        .map(|((service, backend), sum)| (service, backend, sum))
        .collect()
}

fn by_service(counts: Vec<proxy::ReasonCount>) -> Vec<(Name, &'static str, u64)> {
    let counts = counts.into_iter();
    counts
        .map(|one| (one.service, one.reason.word(), one.count))
        .collect()
}

fn by_backend(counts: Vec<proxy::ReasonCount>) -> Vec<(Name, Option<Name>, &'static str, u64)> {
    let mut sums = BTreeMap::new();
    for count in counts {
        let backend = count.backend.map(|(_pool, backend)| backend);
        let key = (count.service, backend, count.reason.word());
        *sums.entry(key).or_insert(0) += count.count;
    }
    let readings = sums.into_iter();
    readings
        .map(|((service, backend, reason), count)| (service, backend, reason, count))
        .collect()
}

fn latency_reading((service, durations): (Name, proxy::Durations)) -> LatencyReading {
    let bounds = proxy::DURATION_BOUNDS.into_iter().chain([f64::INFINITY]);
    LatencyReading {
        service,
        buckets: bounds.zip(durations.buckets).collect(),
        sum: durations.sum,
    }
}

/// Summed over the services: the metric has no such label.
fn handshake_readings(counts: &[proxy::HandshakeCount]) -> Vec<HandshakeReading> {
    let mut sums = BTreeMap::new();
    for count in counts {
        *sums.entry((count.version, count.resumed)).or_insert(0) += count.count;
    }
    let readings = sums
        .into_iter()
        .map(|((version, resumed), handshakes)| HandshakeReading {
            version,
            resumed,
            handshakes,
        });
    readings.collect()
}

fn certificate_reading(info: proxy::CertificateInfo) -> CertificateReading {
    CertificateReading {
        service: info.service,
        name: info.names.first().cloned().unwrap_or_default(),
        file: info.path.display().to_string(),
        expires: info.not_after,
    }
}
