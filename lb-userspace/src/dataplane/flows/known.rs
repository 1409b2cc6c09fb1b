//! What this host's configuration knows: which connections it can carry on, and under which of its
//! own numbers.

use std::{collections::HashMap, ops::RangeInclusive};

use lb_common::{record::Record, service::ServiceKey};

use super::{super::layout::Layout, counters::Skip};

/// Services that are steered, with their backends' numbers, and the source ports of NAT.
#[derive(Debug)]
pub(super) struct Known {
    services: HashMap<ServiceKey, HashMap<([u8; 4], u16), u16>>,
    source_ports: RangeInclusive<u16>,
}

impl Known {
    pub(super) fn of(layout: &Layout, source_ports: &RangeInclusive<u16>) -> Self {
        let steered = layout.services.iter().filter(|one| !one.value.is_agents());
        let services = steered.map(|service| {
            let backends = service.backends.iter().filter_map(|backend| {
                let id = u16::try_from(backend.id).ok()?;
                Some(((backend.value.address, backend.value.port), id))
            });
            (service.key, backends.collect())
        });
        Self {
            services: services.collect(),
            source_ports: source_ports.clone(),
        }
    }

    /// Whether a steered service listens there.
    pub(super) fn steers(&self, key: &ServiceKey) -> bool {
        self.services.contains_key(key)
    }

    /// The number of a connection's backend, or why this host cannot carry it on.
    pub(super) fn backend(&self, record: &Record) -> Result<u16, Skip> {
        let backends = self
            .services
            .get(&record.client.service())
            .ok_or(Skip::UnknownService)?;
        if !self.source_ports.contains(&record.source_port) {
            return Err(Skip::SourcePort);
        }
        backends
            .get(&(record.backend, record.backend_port))
            .copied()
            .ok_or(Skip::UnknownBackend)
    }
}
