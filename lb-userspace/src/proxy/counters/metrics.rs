//! The metrics of the HTTP front.
//!
//! The metric families have no label for the pool: backends of the same name in two pools of a
//! service share a series, which has the sum of both.

use std::{collections::BTreeMap, fmt};

use super::{Counters, DURATION_BOUNDS, ReasonCount};
use crate::{
    config::Name,
    metrics::{Collector, DescriptorEncoder, Family, Samples, families},
};

families! {
    HTTP_REQUESTS: Counter "lb_http_requests_total" ["service", "backend", "code"]
        "Requests answered by the HTTP front; backend is empty if no backend got the request.";
    HTTP_ROUTED: Counter "lb_http_route_requests_total" ["service", "route"]
        "Requests by matching route; route is default if none matched.";
    HTTP_BROKEN: Counter "lb_http_broken_total" ["service", "backend", "reason"]
        "Requests whose response did not reach the client completely; not counted in lb_http_requests_total.";
    HTTP_SECONDS: Histogram "lb_http_request_seconds" ["service"]
        "Time from the end of a request's head to the end of its response, in seconds.";
    HTTP_CONNECTIONS: Gauge "lb_http_connections" ["service"]
        "Open client connections of the HTTP front.";
    HTTP_BUFFERED: Gauge "lb_http_buffered_bytes" []
        "Bytes of responses waiting to be sent to clients of the HTTP front, and of buffers in use.";
    HTTP_CLOSED: Counter "lb_http_connections_closed_total" ["service", "reason"]
        "Client connections and tunnels of the HTTP front that ended early without a request in flight.";
    HTTP_REFUSALS: Counter "lb_http_refusals_total" ["service", "reason"]
        "Requests that the HTTP front answered itself because of a fault of the client.";
    HTTP_OWN_ANSWERS: Counter "lb_http_own_answers_total" ["service", "backend", "reason"]
        "Requests that the HTTP front answered in place of a backend for reasons other than the client.";
    HTTP_RETRIES: Counter "lb_http_retries_total" ["service"]
        "Retries of requests after a connection failed, or ended without a response.";
    HTTP_RETRIES_REFUSED: Counter "lb_http_retries_refused_total" ["service"]
        "Retries of requests that were not made because retry_budget was exhausted.";
    HTTP_QUEUED: Gauge "lb_http_queued_requests" ["service"]
        "Requests in the queue of a pool, waiting for a backend below its limit.";
    HTTP_QUEUE_WAITS: Counter "lb_http_queue_waits_total" ["service"]
        "Requests that waited in the queue of a pool.";
    HTTP_QUEUE_REJECTIONS: Counter "lb_http_queue_rejections_total" ["service"]
        "Requests answered with 503 because the queue of a pool was full or their time in it ran out.";
    PANICS: Counter "lb_panics_total" ["service"]
        "Panics in the agent that ended a client's connection or one of its streams.";
    BACKEND_CONNECTIONS: Gauge "lb_backend_connections" ["service", "backend"]
        "Connections of the HTTP front to a backend that have a request in flight.";
    BACKEND_EJECTIONS: Counter "lb_backend_ejections_total" ["service", "backend"]
        "Ejections of a backend for failing requests, by the service of the last failed request.";
    TLS_HANDSHAKES: Counter "lb_tls_handshakes_total" ["version", "resumed"]
        "TLS handshakes that succeeded.";
    TLS_FAILURES: Counter "lb_tls_handshake_failures_total" ["service", "reason"]
        "TLS handshakes that failed or timed out.";
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.encode_requests(encoder)?;
        self.encode_connections(encoder)?;
        self.encode_retries_and_queues(encoder)?;
        by_service(encoder, &PANICS, &self.panics)?;
        self.encode_backends(encoder)?;
        self.encode_handshakes(encoder)
    }
}

impl Counters {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests = Samples::begin(encoder, &HTTP_REQUESTS)?;
        let by_code = self.requests.iter().map(|one| {
            let key = (&one.service, in_pool(one.backend.as_ref()), one.code);
            (key, one.count)
        });
        for ((service, backend, code), count) in summed(by_code) {
            requests.counter(&[service.as_str(), backend, &code.to_string()], &count)?;
        }
        let mut routed = Samples::begin(encoder, &HTTP_ROUTED)?;
        for (service, route, count) in &self.routed {
            routed.counter(&[service.as_str(), route.as_str()], count)?;
        }
        by_backend_and_reason(encoder, &HTTP_BROKEN, &self.broken)?;
        let mut seconds = Samples::begin(encoder, &HTTP_SECONDS)?;
        for (service, one) in &self.durations {
            let labels = [service.as_str()];
            seconds.histogram(&labels, &DURATION_BOUNDS, &one.buckets, one.sum)?;
        }
        Ok(())
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut connections = Samples::begin(encoder, &HTTP_CONNECTIONS)?;
        for (service, open) in &self.open_connections {
            connections.gauge(&[service.as_str()], *open as f64)?;
        }
        let buffered = self.buffered_bytes as f64;
        Samples::begin(encoder, &HTTP_BUFFERED)?.gauge(&[], buffered)?;
        by_reason(encoder, &HTTP_CLOSED, &self.closed)?;
        by_reason(encoder, &HTTP_REFUSALS, &self.refusals)?;
        by_backend_and_reason(encoder, &HTTP_OWN_ANSWERS, &self.own_answers)
    }

    fn encode_retries_and_queues(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        by_service(encoder, &HTTP_RETRIES, &self.retries)?;
        by_service(encoder, &HTTP_RETRIES_REFUSED, &self.retries_refused)?;
        let mut queued = Samples::begin(encoder, &HTTP_QUEUED)?;
        for (service, count) in &self.queued {
            queued.gauge(&[service.as_str()], *count as f64)?;
        }
        by_service(encoder, &HTTP_QUEUE_WAITS, &self.queue_waits)?;
        by_service(encoder, &HTTP_QUEUE_REJECTIONS, &self.queue_rejections)
    }

    fn encode_backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.backend_connections;
        let mut connections = Samples::begin(encoder, &BACKEND_CONNECTIONS)?;
        let in_use = all
            .iter()
            .map(|one| ((&one.service, &one.backend), one.in_use));
        for ((service, backend), count) in summed(in_use) {
            connections.gauge(&[service.as_str(), backend.as_str()], count as f64)?;
        }
        let mut ejections = Samples::begin(encoder, &BACKEND_EJECTIONS)?;
        let ejected = all
            .iter()
            .map(|one| ((&one.service, &one.backend), one.ejections));
        for ((service, backend), count) in summed(ejected) {
            ejections.counter(&[service.as_str(), backend.as_str()], &count)?;
        }
        Ok(())
    }

    fn encode_handshakes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut handshakes = Samples::begin(encoder, &TLS_HANDSHAKES)?;
        let kinds = self
            .handshakes
            .iter()
            .map(|one| ((one.version, one.resumed), one.count));
        for ((version, resumed), count) in summed(kinds) {
            let resumed = if resumed { "true" } else { "false" };
            handshakes.counter(&[version, resumed], &count)?;
        }
        by_reason(encoder, &TLS_FAILURES, &self.handshake_failures)
    }
}

/// Encodes a metric family whose only label is `service`.
fn by_service(
    encoder: &mut DescriptorEncoder<'_>,
    family: &'static Family,
    counts: &[(Name, u64)],
) -> fmt::Result {
    let counts = counts
        .iter()
        .map(|(service, count)| (service.as_str(), *count));
    Samples::begin(encoder, family)?.counters(counts)
}

/// Encodes a metric family with the labels `service` and `reason`.
fn by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    family: &'static Family,
    counts: &[ReasonCount],
) -> fmt::Result {
    let mut samples = Samples::begin(encoder, family)?;
    for one in counts {
        samples.counter(&[one.service.as_str(), one.reason.word()], &one.count)?;
    }
    Ok(())
}

/// Encodes a metric family with the labels `service`, `backend` and `reason`.
fn by_backend_and_reason(
    encoder: &mut DescriptorEncoder<'_>,
    family: &'static Family,
    counts: &[ReasonCount],
) -> fmt::Result {
    let mut samples = Samples::begin(encoder, family)?;
    let counts = counts.iter().map(|one| {
        let key = (
            &one.service,
            in_pool(one.backend.as_ref()),
            one.reason.word(),
        );
        (key, one.count)
    });
    for ((service, backend, reason), count) in summed(counts) {
        samples.counter(&[service.as_str(), backend, reason], &count)?;
    }
    Ok(())
}

/// Returns the value of the metric label `backend`: the backend's name, or an empty string if no
/// backend got the request.
fn in_pool(backend: Option<&(Name, Name)>) -> &str {
    backend.map_or("", |(_pool, name)| name.as_str())
}

fn summed<K: Ord>(counts: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in counts {
        *sums.entry(key).or_insert(0) += count;
    }
    sums
}
