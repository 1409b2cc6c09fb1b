//! The readings for the metrics.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

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
    proxy,
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
            backends: backend_readings(state),
            pools: state
                .roster
                .views()
                .map(|view| (view.pool.name.clone(), view.all_down().is_some()))
                .collect(),
            handshakes: handshake_readings(&http.handshakes),
            requests: http.requests.into_iter().map(request_reading).collect(),
            broken: http
                .broken
                .into_iter()
                .map(|one| (one.service, one.backend, one.reason, one.count))
                .collect(),
            latencies: http.durations.into_iter().map(latency_reading).collect(),
            handshake_failures: http.handshake_failures,
            open_connections: http.open_connections,
            buffered_bytes: http.buffered_bytes,
            closed: http
                .closed
                .into_iter()
                .map(|one| (one.service, one.reason, one.count))
                .collect(),
            refusals: http
                .refusals
                .into_iter()
                .map(|one| (one.service, one.reason, one.count))
                .collect(),
            retries: http.retries,
            panics: http.panics,
            backend_connections: http
                .backend_connections
                .into_iter()
                .map(|one| (one.service, one.backend, one.in_use))
                .collect(),
            certificates: self
                .certificates
                .into_iter()
                .map(certificate_reading)
                .collect(),
            orders: Vec::new(),
            source_ports: Arc::default(),
            ha: None,
            process: ProcessReading::now(started),
        }
    }
}

fn backend_readings(state: &State) -> Vec<BackendReading> {
    let views = state.roster.views();
    let readings = views.flat_map(|view| {
        let backends = view.pool.backends.iter().zip(&view.states);
        backends.map(|(backend, now)| {
            let id = BackendId {
                pool: view.pool.name.clone(),
                address: backend.address,
            };
            BackendReading {
                pool: view.pool.name.clone(),
                backend: backend.name.clone(),
                state: *now,
                check: state.records.last(&id).map(|last| last.duration),
            }
        })
    });
    readings.collect()
}

fn request_reading(count: proxy::RequestCount) -> RequestReading {
    RequestReading {
        service: count.service,
        backend: count.backend,
        code: count.code,
        requests: count.count,
    }
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
