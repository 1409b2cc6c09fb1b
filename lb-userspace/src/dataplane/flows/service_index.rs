//! An index of the services that the kernel steers, and of their backends. It says which
//! connections of the peer this host can continue, and which numbers their backends have here.

use std::collections::HashMap;

use lb_common::{backend::BackendId, connection::NO_ROW, record::Record, service::ServiceKey};

use super::{super::layout::Layout, counters::SkipReason};

/// The number of each backend and of its first row in the BPF map `source_ports`, by the backend's
/// address and port. A row has the source ports of the connections from one address.
type Backends = HashMap<([u8; 4], u16), (BackendId, u16)>;

/// The services that the kernel steers, each with the numbers of its backends and of the first row
/// (inner map) that each backend has in the map `source_ports`.
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

    /// Returns whether a service that the kernel steers listens on this address and port.
    pub(super) fn steers(&self, key: &ServiceKey) -> bool {
        self.services.contains_key(key)
    }

    /// Returns the number of a connection's backend, and of the first row (inner map) with the
    /// source ports to that backend; or why this host cannot continue the connection.
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
