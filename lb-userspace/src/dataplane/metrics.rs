//! The metrics of the XDP program and its BPF maps.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Attachment, Counters, SourcePorts, XdpMode};
use crate::{
    config::Name,
    metrics::{Collector, DescriptorEncoder, Samples, families},
};

families! {
    XDP_MODE: Gauge "lb_xdp_mode" ["interface", "mode"]
        "1 for the mode in which the XDP program is attached to an interface, 0 for the other mode.";
    XDP_PACKETS: Counter "lb_xdp_packets_total" ["verdict", "reason"]
        "Packets seen by the XDP program, each counted under exactly one verdict and reason.";
    SERVICE_PACKETS: Counter "lb_service_packets_total" ["service", "direction"]
        "Packets of a service: in from clients, out to clients.";
    SERVICE_BYTES: Counter "lb_service_bytes_total" ["service", "direction"]
        "Bytes of a service, including IP headers: in from clients, out to clients.";
    SERVICE_CONNECTIONS: Counter "lb_service_connections_total" ["service"]
        "Connections that clients opened to a service.";
    BACKEND_PACKETS: Counter "lb_backend_packets_total" ["service", "backend", "direction"]
        "Packets that the kernel forwarded between clients and a backend: in to the backend, out to clients.";
    BACKEND_SOURCE_PORTS: Gauge "lb_backend_source_ports" ["service", "backend", "state"]
        "Source ports of NAT at a backend, by state: held, resting or free.";
}

/// The XDP attachments, the counters and the use of source ports at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct KernelMetrics {
    /// The interfaces that the XDP program is attached to, each with its mode.
    pub attachments: Vec<Attachment>,
    /// The counters that were read from the BPF maps.
    pub counters: Counters,
    /// How many source ports of NAT are in use, rest after use, or are free at each backend.
    pub source_ports: Arc<[SourcePorts]>,
}

impl Collector for KernelMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let mut mode = Samples::begin(encoder, &XDP_MODE)?;
        let modes = [XdpMode::Native, XdpMode::Generic].map(XdpMode::as_str);
        for attachment in &self.attachments {
            mode.state(&[&attachment.interface], &modes, attachment.mode.as_str())?;
        }
        let mut verdicts = Samples::begin(encoder, &XDP_PACKETS)?;
        for count in &self.counters.verdicts {
            verdicts.counter(&[count.verdict, count.reason], &count.packets)?;
        }
        self.encode_services(encoder)?;
        self.encode_backends(encoder)
    }
}

impl KernelMetrics {
    fn encode_services(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let services = self.services();
        let mut packets = Samples::begin(encoder, &SERVICE_PACKETS)?;
        for (service, sum) in &services {
            packets.counter(&[service.as_str(), "in"], &sum.packets_in)?;
            if sum.is_steered {
                packets.counter(&[service.as_str(), "out"], &sum.packets_out)?;
            }
        }
        let mut bytes = Samples::begin(encoder, &SERVICE_BYTES)?;
        for (service, sum) in &services {
            bytes.counter(&[service.as_str(), "in"], &sum.bytes_in)?;
            if sum.is_steered {
                bytes.counter(&[service.as_str(), "out"], &sum.bytes_out)?;
            }
        }
        let mut connections = Samples::begin(encoder, &SERVICE_CONNECTIONS)?;
        for (service, sum) in &services {
            connections.counter(&[service.as_str()], &sum.connections)?;
        }
        Ok(())
    }

    fn encode_backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut packets = Samples::begin(encoder, &BACKEND_PACKETS)?;
        for traffic in &self.counters.traffic {
            let Some(backend) = &traffic.backend else {
                continue;
            };
            let labels = |direction| [traffic.service.as_str(), backend.as_str(), direction];
            packets.counter(&labels("in"), &traffic.packets_in)?;
            packets.counter(&labels("out"), &traffic.packets_out)?;
        }
        let mut ports = Samples::begin(encoder, &BACKEND_SOURCE_PORTS)?;
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

    /// Sums the traffic of each service over its backends, because the kernel counts by service and
    /// backend.
    fn services(&self) -> BTreeMap<&Name, Sum> {
        let mut services = BTreeMap::<&Name, Sum>::new();
        for traffic in &self.counters.traffic {
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
}

#[derive(Default)]
struct Sum {
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    connections: u64,
    /// Whether the kernel steers the service, in which case XDP sees responses too. Of a service
    /// that the agent serves, XDP sees only the packets from clients.
    is_steered: bool,
}
