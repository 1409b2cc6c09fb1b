//! The traffic of services and backends, which is summed once for a whole status.

use std::collections::HashMap;

use super::Observed;
use crate::{
    admin::ServiceStatus,
    agent::shared::State,
    config::{Forward, Mode, Name, Service},
};

/// The traffic of each service, and the traffic of each backend, summed over all services that use
/// its pool.
pub(super) struct Works<'a> {
    services: HashMap<&'a Name, OfService>,
    backends: HashMap<(&'a Name, &'a Name), Work>,
}

#[derive(Default)]
struct OfService {
    connections: u64,
    requests: u64,
    request_seconds: f64,
    errors: u64,
    open_connections: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// The traffic of a backend.
#[derive(Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) connections: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) open_connections: u64,
    pub(super) requests: u64,
}

impl<'a> Works<'a> {
    /// Sums the counters that were read for the report.
    pub(super) fn of(observed: &'a Observed, state: &'a State) -> Self {
        let mut works = Self {
            services: HashMap::new(),
            backends: HashMap::new(),
        };
        let services = state.config.services.iter();
        // The kernel counts traffic by backend only for the services that it steers, which have one
        // pool each.
        let pools: HashMap<&Name, &Name> = services
            .filter_map(|service| Some((&service.name, &service.pool.as_ref()?.name)))
            .collect();
        for traffic in observed.traffic() {
            let sum = works.services.entry(&traffic.service).or_default();
            sum.connections += traffic.connections;
            sum.bytes_in += traffic.bytes_in;
            sum.bytes_out += traffic.bytes_out;
            if let Some(backend) = &traffic.backend
                && let Some(pool) = pools.get(&traffic.service)
            {
                let work = works.backends.entry((pool, backend)).or_default();
                work.connections += traffic.connections;
                work.packets += traffic.packets_in + traffic.packets_out;
                work.bytes += traffic.bytes_in + traffic.bytes_out;
            }
        }
        for count in &observed.http.requests {
            let sum = works.services.entry(&count.service).or_default();
            sum.requests += count.count;
            if count.code >= 500 {
                sum.errors += count.count;
            }
            if let Some((pool, backend)) = &count.backend {
                works.backends.entry((pool, backend)).or_default().requests += count.count;
            }
        }
        for (service, durations) in &observed.http.durations {
            works.services.entry(service).or_default().request_seconds += durations.sum;
        }
        for broken in &observed.http.broken {
            works.services.entry(&broken.service).or_default().errors += broken.count;
        }
        for (service, open) in &observed.http.open_connections {
            works.services.entry(service).or_default().open_connections += open;
        }
        for connections in &observed.http.backend_connections {
            let key = (&connections.pool, &connections.backend);
            works.backends.entry(key).or_default().open_connections += connections.in_use;
        }
        works
    }

    /// Returns the traffic of a backend, summed over all services that use its pool.
    pub(super) fn backend(&self, pool: &Name, backend: &Name) -> Work {
        let work = self.backends.get(&(pool, backend));
        work.copied().unwrap_or_default()
    }

    /// Returns the status of a service with its traffic.
    pub(super) fn service(&self, service: &Service) -> ServiceStatus {
        let none = OfService::default();
        let work = self.services.get(&service.name).unwrap_or(&none);
        let (mode, forward, is_http) = match &service.mode {
            Mode::Tcp {
                forward: Forward::Nat,
            } => ("tcp", Some("nat".to_owned()), false),
            Mode::Tcp {
                forward: Forward::Dnat,
            } => ("tcp", Some("dnat".to_owned()), false),
            Mode::Http => ("http", None, true),
            Mode::Https { .. } => ("https", None, true),
        };
        ServiceStatus {
            name: service.name.to_string(),
            listen: service.listen,
            mode: mode.to_owned(),
            forward,
            pool: pools_of(service),
            connections: work.connections,
            requests: is_http.then_some(work.requests),
            request_seconds: is_http.then_some(work.request_seconds),
            errors: is_http.then_some(work.errors),
            open_connections: is_http.then_some(work.open_connections),
            bytes_in: work.bytes_in,
            bytes_out: (!is_http).then_some(work.bytes_out),
        }
    }
}

/// Returns the names of a service's pools, its default pool first: `web`, `web, api`.
fn pools_of(service: &Service) -> String {
    let pools = service.pools();
    let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
    names.join(", ")
}
