//! What this host's configuration knows: which connections it can carry on, and under which of its
//! own numbers.

use std::collections::HashMap;

use lb_common::{backend::BackendId, connection::NO_ROW, record::Record, service::ServiceKey};

use super::{super::layout::Layout, counters::SkipReason};

/// The number and the row of each backend, by its address and port.
type Backends = HashMap<([u8; 4], u16), (BackendId, u16)>;

/// Services that are steered, with their backends' numbers and rows of source ports.
#[derive(Debug)]
pub(super) struct ServiceIndex {
    services: HashMap<ServiceKey, Backends>,
}

impl ServiceIndex {
    pub(super) fn of(layout: &Layout) -> Self {
        let steered = layout
            .services
            .iter()
            .filter(|one| !one.value.is_served_by_agent());
        let services = steered.map(|service| {
            let backends = service.backends.iter().map(|backend| {
                let value = &backend.value;
                let row = if value.dnat == 0 { value.row } else { NO_ROW };
                ((value.address, value.port), (backend.id, row))
            });
            (service.key, backends.collect())
        });
        Self {
            services: services.collect(),
        }
    }

    /// Whether a steered service listens there.
    pub(super) fn steers(&self, key: &ServiceKey) -> bool {
        self.services.contains_key(key)
    }

    /// The number and the row of a connection's backend, or why this host cannot carry it on.
    pub(super) fn backend(&self, record: &Record) -> Result<(BackendId, u16), SkipReason> {
        let backends = self
            .services
            .get(&record.client.service())
            .ok_or(SkipReason::UnknownService)?;
        backends
            .get(&(record.backend, record.backend_port))
            .copied()
            .ok_or(SkipReason::UnknownBackend)
    }
}
