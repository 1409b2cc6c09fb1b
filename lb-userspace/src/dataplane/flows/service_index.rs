//! An index of steered services and backends: which connections of the peer this host can continue,
//! and which indices it has for their backends.

use std::collections::HashMap;

use lb_common::{backend::BackendId, connection::NO_ROW, record::Record, service::ServiceKey};

use super::{super::layout::Layout, counters::SkipReason};

/// Index and row of each backend, by address and port.
type Backends = HashMap<([u8; 4], u16), (BackendId, u16)>;

/// Steered services with the indices of their backends and the rows of their source ports.
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

    /// Whether a steered service has this address and port.
    pub(super) fn steers(&self, key: &ServiceKey) -> bool {
        self.services.contains_key(key)
    }

    /// Returns index and row of a connection's backend, or why this host cannot continue the
    /// connection.
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
