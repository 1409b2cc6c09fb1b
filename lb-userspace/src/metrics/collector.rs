//! The readings, written out family by family.

use std::{
    collections::BTreeMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use lb_common::backend::BackendState;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{Readings, family as families, family::Family};
use crate::{config::Name, dataplane::XdpMode, pool::word_of};

mod ha;

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.encode_agent(encoder)?;
        self.encode_kernel(encoder)?;
        self.encode_backends(encoder)?;
        self.encode_http(encoder)?;
        if let Some(ha) = &self.ha {
            ha.encode(encoder)?;
        }
        self.encode_process(encoder)
    }
}

impl Readings {
    fn encode_agent(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = Samples::begin(encoder, &families::BUILD_INFO)?;
        build.gauge(&[self.version, self.node.as_str()], 1.0)?;
        let mut mode = Samples::begin(encoder, &families::XDP_MODE)?;
        for attachment in &self.attachments {
            for one in [XdpMode::Native, XdpMode::Generic] {
                let value = f64::from(u8::from(attachment.mode == one));
                mode.gauge(&[&attachment.interface, one.as_str()], value)?;
            }
        }
        Ok(())
    }

    fn encode_kernel(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut verdicts = Samples::begin(encoder, &families::XDP_PACKETS)?;
        for count in &self.kernel.verdicts {
            verdicts.counter(&[count.verdict, count.reason], &count.packets)?;
        }
        let services = self.services();
        let mut packets = Samples::begin(encoder, &families::SERVICE_PACKETS)?;
        for (service, sum) in &services {
            packets.counter(&[service.as_str(), "in"], &sum.packets_in)?;
            if sum.is_steered {
                packets.counter(&[service.as_str(), "out"], &sum.packets_out)?;
            }
        }
        let mut bytes = Samples::begin(encoder, &families::SERVICE_BYTES)?;
        for (service, sum) in &services {
            bytes.counter(&[service.as_str(), "in"], &sum.bytes_in)?;
            if sum.is_steered {
                bytes.counter(&[service.as_str(), "out"], &sum.bytes_out)?;
            }
        }
        let mut connections = Samples::begin(encoder, &families::SERVICE_CONNECTIONS)?;
        for (service, sum) in &services {
            connections.counter(&[service.as_str()], &sum.connections)?;
        }
        let mut backends = Samples::begin(encoder, &families::BACKEND_PACKETS)?;
        for traffic in &self.kernel.traffic {
            let Some(backend) = &traffic.backend else {
                continue;
            };
            let labels = |direction| [traffic.service.as_str(), backend.as_str(), direction];
            backends.counter(&labels("in"), &traffic.packets_in)?;
            backends.counter(&labels("out"), &traffic.packets_out)?;
        }
        let mut ports = Samples::begin(encoder, &families::BACKEND_SOURCE_PORTS)?;
        for one in &*self.source_ports {
            let states = [
                ("held", one.ports.held),
                ("resting", one.ports.resting),
                ("free", one.ports.free),
            ];
            for (state, count) in states {
                let labels = [one.service.as_str(), one.backend.as_str(), state];
                ports.gauge(&labels, count as f64)?;
            }
        }
        Ok(())
    }

    /// The kernel counts by service and backend: summed up by service.
    fn services(&self) -> BTreeMap<&Name, Sum> {
        let mut services = BTreeMap::<&Name, Sum>::new();
        for traffic in &self.kernel.traffic {
            let sum = services.entry(&traffic.service).or_default();
            sum.packets_in += traffic.packets_in;
            sum.packets_out += traffic.packets_out;
            sum.bytes_in += traffic.bytes_in;
            sum.bytes_out += traffic.bytes_out;
            sum.connections += traffic.connections;
            sum.is_steered |= traffic.backend.is_some();
        }
        services
    }

    fn encode_backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const STATES: [BackendState; 3] =
            [BackendState::Up, BackendState::Draining, BackendState::Down];
        let mut up = Samples::begin(encoder, &families::BACKEND_UP)?;
        for one in &self.backends {
            let value = f64::from(u8::from(one.state == BackendState::Up));
            up.gauge(&[one.pool.as_str(), one.backend.as_str()], value)?;
        }
        let mut state = Samples::begin(encoder, &families::BACKEND_STATE)?;
        for one in &self.backends {
            for candidate in STATES {
                let labels = [one.pool.as_str(), one.backend.as_str(), word_of(candidate)];
                state.gauge(&labels, f64::from(u8::from(one.state == candidate)))?;
            }
        }
        let mut ejected = Samples::begin(encoder, &families::BACKEND_EJECTED)?;
        for one in &self.backends {
            if let Some(is_ejected) = one.ejected {
                let labels = [one.pool.as_str(), one.backend.as_str()];
                ejected.gauge(&labels, f64::from(u8::from(is_ejected)))?;
            }
        }
        let mut check = Samples::begin(encoder, &families::BACKEND_CHECK)?;
        for one in &self.backends {
            if let Some(duration) = one.check {
                let labels = [one.pool.as_str(), one.backend.as_str()];
                check.gauge(&labels, duration.as_secs_f64())?;
            }
        }
        let mut all_down = Samples::begin(encoder, &families::POOL_ALL_DOWN)?;
        for (pool, is_down) in &self.pools {
            all_down.gauge(&[pool.as_str()], f64::from(u8::from(*is_down)))?;
        }
        Ok(())
    }

    fn encode_http(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests = Samples::begin(encoder, &families::HTTP_REQUESTS)?;
        for one in &self.requests {
            let backend = one.backend.as_ref().map_or("", Name::as_str);
            let labels = [one.service.as_str(), backend, &one.code.to_string()];
            requests.counter(&labels, &one.requests)?;
        }
        let mut routed = Samples::begin(encoder, &families::HTTP_ROUTED)?;
        for (service, route, count) in &self.routed {
            routed.counter(&[service.as_str(), route.as_str()], count)?;
        }
        let mut broken = Samples::begin(encoder, &families::HTTP_BROKEN)?;
        for (service, backend, reason, count) in &self.broken {
            let backend = backend.as_ref().map_or("", Name::as_str);
            broken.counter(&[service.as_str(), backend, reason], count)?;
        }
        let mut seconds = Samples::begin(encoder, &families::HTTP_SECONDS)?;
        for one in &self.latencies {
            seconds.histogram(&[one.service.as_str()], &one.buckets, one.sum)?;
        }
        let mut connections = Samples::begin(encoder, &families::HTTP_CONNECTIONS)?;
        for (service, open) in &self.open_connections {
            connections.gauge(&[service.as_str()], *open as f64)?;
        }
        Samples::begin(encoder, &families::HTTP_BUFFERED)?
            .gauge(&[], self.buffered_bytes as f64)?;
        let mut closed = Samples::begin(encoder, &families::HTTP_CLOSED)?;
        for (service, reason, count) in &self.closed {
            closed.counter(&[service.as_str(), reason], count)?;
        }
        let mut refusals = Samples::begin(encoder, &families::HTTP_REFUSALS)?;
        for (service, reason, count) in &self.refusals {
            refusals.counter(&[service.as_str(), reason], count)?;
        }
        let mut own = Samples::begin(encoder, &families::HTTP_OWN_ANSWERS)?;
        for (service, backend, reason, count) in &self.own_answers {
            let backend = backend.as_ref().map_or("", Name::as_str);
            own.counter(&[service.as_str(), backend, reason], count)?;
        }
        let mut retries = Samples::begin(encoder, &families::HTTP_RETRIES)?;
        for (service, count) in &self.retries {
            retries.counter(&[service.as_str()], count)?;
        }
        let mut refused = Samples::begin(encoder, &families::HTTP_RETRIES_REFUSED)?;
        for (service, count) in &self.retries_refused {
            refused.counter(&[service.as_str()], count)?;
        }
        let mut queued = Samples::begin(encoder, &families::HTTP_QUEUED)?;
        for (service, count) in &self.queued {
            queued.gauge(&[service.as_str()], *count as f64)?;
        }
        let mut waits = Samples::begin(encoder, &families::HTTP_QUEUE_WAITS)?;
        for (service, count) in &self.queue_waits {
            waits.counter(&[service.as_str()], count)?;
        }
        let mut rejections = Samples::begin(encoder, &families::HTTP_QUEUE_REJECTIONS)?;
        for (service, count) in &self.queue_rejections {
            rejections.counter(&[service.as_str()], count)?;
        }
        let mut panics = Samples::begin(encoder, &families::PANICS)?;
        for (service, count) in &self.panics {
            panics.counter(&[service.as_str()], count)?;
        }
        Samples::begin(encoder, &families::LOG_LINES)?.counter(&[], &self.log.written)?;
        let mut dropped = Samples::begin(encoder, &families::LOG_DROPPED)?;
        dropped.counter(&["no_room"], &self.log.no_room)?;
        dropped.counter(&["not_written"], &self.log.not_written)?;
        let mut backends = Samples::begin(encoder, &families::BACKEND_CONNECTIONS)?;
        for (service, backend, in_use) in &self.backend_connections {
            backends.gauge(&[service.as_str(), backend.as_str()], *in_use as f64)?;
        }
        let mut ejections = Samples::begin(encoder, &families::BACKEND_EJECTIONS)?;
        for (service, backend, count) in &self.ejections {
            ejections.counter(&[service.as_str(), backend.as_str()], count)?;
        }
        self.encode_tls(encoder)
    }

    fn encode_tls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut handshakes = Samples::begin(encoder, &families::TLS_HANDSHAKES)?;
        for one in &self.handshakes {
            let resumed = if one.resumed { "true" } else { "false" };
            handshakes.counter(&[one.version, resumed], &one.handshakes)?;
        }
        let mut failures = Samples::begin(encoder, &families::TLS_FAILURES)?;
        for (service, reason, count) in &self.handshake_failures {
            failures.counter(&[service.as_str(), reason], count)?;
        }
        let mut expiry = Samples::begin(encoder, &families::CERTIFICATE_EXPIRY)?;
        for one in &self.certificates {
            expiry.gauge(
                &[one.service.as_str(), &one.name, &one.file],
                unix_seconds(one.expires),
            )?;
        }
        let mut orders = Samples::begin(encoder, &families::ACME_ORDERS)?;
        for (service, outcome, count) in &self.orders {
            orders.counter(&[service.as_str(), outcome], count)?;
        }
        let mut due = Samples::begin(encoder, &families::ACME_RENEWAL_DUE)?;
        for (service, moment) in &self.renewals_due {
            due.gauge(&[service.as_str()], unix_seconds(*moment))?;
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(cpu) = process.cpu {
            Samples::begin(encoder, &families::PROCESS_CPU)?.counter(&[], &cpu.as_secs_f64())?;
        }
        let gauges = [
            (
                &families::PROCESS_MEMORY,
                process.resident_bytes.map(|value| value as f64),
            ),
            (
                &families::PROCESS_OPEN_FDS,
                process.open_fds.map(|value| value as f64),
            ),
            (
                &families::PROCESS_MAX_FDS,
                process.max_fds.map(|value| value as f64),
            ),
            (&families::PROCESS_START, process.started.map(unix_seconds)),
        ];
        for (family, value) in gauges {
            if let Some(value) = value {
                Samples::begin(encoder, family)?.gauge(&[], value)?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Sum {
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    connections: u64,
    /// Whether answers pass XDP as well: what the agent serves only comes in by it.
    is_steered: bool,
}

fn unix_seconds(moment: SystemTime) -> f64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Writes the samples of one family.
struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl<'a> Samples<'a> {
    fn begin(
        encoder: &'a mut DescriptorEncoder<'_>,
        family: &'static Family,
    ) -> Result<Self, fmt::Error> {
        // The encoder appends `_total` to the samples of a counter.
        let name = match family.kind {
            MetricType::Counter => family.name.trim_end_matches("_total"),
            _ => family.name,
        };
        let encoder = encoder.encode_descriptor(name, family.help, None, family.kind)?;
        Ok(Self {
            encoder,
            labels: family.labels,
        })
    }

    fn counter(&mut self, values: &[&str], value: &impl EncodeCounterValue) -> fmt::Result {
        let encode = |sample: &mut MetricEncoder<'_>| {
            sample.encode_counter::<NoLabelSet, _, u64>(value, None)
        };
        self.sample(values, encode)
    }

    fn gauge(&mut self, values: &[&str], value: f64) -> fmt::Result {
        self.sample(values, |sample| sample.encode_gauge(&value))
    }

    /// `buckets` are upper bounds, ascending, and how many lie below each but above the one before.
    fn histogram(&mut self, values: &[&str], buckets: &[(f64, u64)], sum: f64) -> fmt::Result {
        // The encoder takes the largest finite number for infinity.
        let buckets = buckets
            .iter()
            .map(|(bound, count)| (bound.min(f64::MAX), *count));
        let buckets: Vec<_> = buckets.collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        self.sample(values, |sample| {
            sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn sample(
        &mut self,
        values: &[&str],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if values.is_empty() {
            return encode(&mut self.encoder);
        }
        let labels = self.labelled(values);
        encode(&mut self.encoder.encode_family(&labels)?)
    }

    fn labelled(&self, values: &[&str]) -> Vec<(&'static str, String)> {
        debug_assert_eq!(self.labels.len(), values.len(), "{:?}", self.labels);
        let values = values.iter().map(|value| escaped(value));
        self.labels.iter().copied().zip(values).collect()
    }
}

/// The encoder writes label values as they come.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\");
    value.replace('"', "\\\"").replace('\n', "\\n")
}
