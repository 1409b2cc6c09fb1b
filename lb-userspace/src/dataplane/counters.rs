//! Reads the counters that the XDP program increments.

use lb_common::{traffic::TrafficSlot, verdict};

use super::{Error, layout::Layout, maps::Maps};
use crate::config::Name;

/// The counters of the XDP program since the maps were created. The maps outlive the agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Numbers of packets by verdict and reason; each packet is counted once.
    pub verdicts: Vec<VerdictCount>,
    /// Traffic by service and, if the kernel steers the service, by backend.
    pub traffic: Vec<Traffic>,
}

/// The number of packets that got one verdict for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictCount {
    /// The verdict: `pass`, `drop`, `transmit` or `redirect`.
    pub verdict: &'static str,
    /// The reason for the verdict, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// Number of packets with this verdict and reason.
    pub packets: u64,
}

/// The traffic of one service, or of one of its backends.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The name of the service.
    pub service: Name,
    /// The name of the backend that the kernel chose; `None` for traffic without one.
    pub backend: Option<Name>,
    /// Number of packets from clients.
    pub packets_in: u64,
    /// Number of bytes from clients, counted from the IP header on.
    pub bytes_in: u64,
    /// Number of packets to clients.
    pub packets_out: u64,
    /// Number of bytes to clients, counted from the IP header on.
    pub bytes_out: u64,
    /// Number of connections that were opened.
    pub connections: u64,
}

/// Sums the per-CPU counters of verdicts, and of all services and backends that `layout` contains.
pub(super) fn read(maps: &Maps, layout: &Layout) -> Result<Counters, Error> {
    let packets = maps.verdicts()?;
    let verdicts = verdict::COUNTERS
        .iter()
        .map(|counter| VerdictCount {
            verdict: counter.verdict,
            reason: counter.reason,
            packets: packets
                .get(counter.index as usize)
                .copied()
                .unwrap_or_default(),
        })
        .collect();
    let mut traffic = Vec::new();
    for service in &layout.services {
        // The counter of the service itself has all traffic of a service that the agent serves and,
        // for a service that the kernel steers, the traffic of backends that are no longer
        // configured.
        let counted = maps.traffic(TrafficSlot::of_service(service.value.id))?;
        traffic.push(named(&service.name, None, counted));
        for backend in &service.backends {
            let counted = maps.traffic(TrafficSlot::of_backend(backend.id))?;
            traffic.push(named(&service.name, Some(&backend.name), counted));
        }
    }
    Ok(Counters { verdicts, traffic })
}

fn named(service: &Name, backend: Option<&Name>, counted: lb_common::traffic::Traffic) -> Traffic {
    Traffic {
        service: service.clone(),
        backend: backend.cloned(),
        packets_in: counted.packets_in,
        bytes_in: counted.bytes_in,
        packets_out: counted.packets_out,
        bytes_out: counted.bytes_out,
        connections: counted.connections,
    }
}
