//! Reading the kernel's counters.

use lb_common::{traffic::TrafficSlot, verdict};

use super::{Error, layout::Layout, maps::Maps};
use crate::config::Name;

/// The kernel's counters since the maps were created (which outlive the agent).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Packets by verdict and reason; each packet is counted once.
    pub verdicts: Vec<VerdictCount>,
    /// Traffic by service and, where the kernel steers it, by backend.
    pub traffic: Vec<Traffic>,
}

/// Packets that ended in one verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictCount {
    /// `pass`, `drop`, `transmit` or `redirect`.
    pub verdict: &'static str,
    /// The reason, in lower-case words joined by `_`.
    pub reason: &'static str,
    /// Number of packets.
    pub packets: u64,
}

/// Traffic of one service and backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The service.
    pub service: Name,
    /// The backend, where the kernel chose one.
    pub backend: Option<Name>,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, counted from the IP header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, counted from the IP header on.
    pub bytes_out: u64,
    /// Connections opened.
    pub connections: u64,
}

/// Sums the per-CPU counters of all services and backends of the layout.
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
        // The service's own counter: it counts all traffic of a service of the agent and, for a
        // steered service, the traffic of backends that are no longer configured.
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
