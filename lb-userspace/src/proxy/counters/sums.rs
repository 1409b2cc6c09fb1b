//! Sums of the counters of all workers.

use std::{collections::BTreeMap, sync::PoisonError};

use super::{
    BackendConnections, Count, Counters, DURATION_BOUNDS, Durations, HandshakeCount, InPool,
    ReasonCount, RequestCount, ServiceCounters, WorkerCounters,
};
use crate::{
    config::Name,
    proxy::{
        message::Refusal,
        reason::{By, Phase, Reason},
    },
};

/// Sums the counters of all workers.
pub(in crate::proxy) fn sum(workers: &[&WorkerCounters]) -> Counters {
    let mut sums: BTreeMap<Name, ServiceSum> = BTreeMap::new();
    for worker in workers {
        let services = worker
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, service) in services.iter() {
            sums.entry(name.clone()).or_default().add(service);
        }
    }
    let mut counters = Counters {
        buffered_bytes: workers.iter().map(|worker| worker.buffered.value()).sum(),
        ..Counters::default()
    };
    for (name, sum) in sums {
        sum.report(&name, &mut counters);
    }
    counters
}

struct ServiceSum {
    codes: BTreeMap<(Option<InPool>, u16), u64>,
    own: BTreeMap<Option<InPool>, [u64; Reason::COUNT]>,
    broken: BTreeMap<Option<InPool>, [u64; Reason::COUNT]>,
    /// The number of connections in use and of ejections of each backend, in this order.
    backends: BTreeMap<InPool, [u64; 2]>,
    routes: BTreeMap<Name, u64>,
    buckets: [u64; DURATION_BOUNDS.len() + 1],
    microseconds: u64,
    handshakes: [[u64; 2]; 2],
    closed: [u64; Reason::COUNT],
    open_connections: u64,
    retries: u64,
    retries_refused: u64,
    /// The number of requests that wait now, that had to wait, and that were rejected, in this
    /// order.
    queue: [u64; 3],
    panics: u64,
}

impl Default for ServiceSum {
    fn default() -> Self {
        Self {
            codes: BTreeMap::new(),
            own: BTreeMap::new(),
            broken: BTreeMap::new(),
            backends: BTreeMap::new(),
            routes: BTreeMap::new(),
            buckets: Default::default(),
            microseconds: 0,
            handshakes: Default::default(),
            closed: [0; Reason::COUNT],
            open_connections: 0,
            retries: 0,
            retries_refused: 0,
            queue: [0; 3],
            panics: 0,
        }
    }
}

impl ServiceSum {
    fn add(&mut self, service: &ServiceCounters) {
        let backends = service
            .backends
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, backend) in backends.iter() {
            for (code, count) in (100..).zip(&backend.codes) {
                if count.value() > 0 {
                    *self.codes.entry((name.clone(), code)).or_default() += count.value();
                }
            }
            let nothing = [0; Reason::COUNT];
            add_all(
                self.own.entry(name.clone()).or_insert(nothing),
                &backend.own,
            );
            add_all(
                self.broken.entry(name.clone()).or_insert(nothing),
                &backend.broken,
            );
            if let Some(name) = name {
                let sums = self.backends.entry(name.clone()).or_default();
                sums[0] += backend.in_use.value();
                sums[1] += backend.ejections.value();
            }
        }
        let routes = service
            .routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, count) in routes.iter() {
            *self.routes.entry(name.clone()).or_default() += count.value();
        }
        add_all(&mut self.buckets, &service.buckets);
        add_all(&mut self.closed, &service.closed);
        for (sums, counts) in self.handshakes.iter_mut().zip(&service.handshakes) {
            add_all(sums, counts);
        }
        self.microseconds += service.microseconds.value();
        self.open_connections += service.open_connections.value();
        self.retries += service.retries.value();
        self.retries_refused += service.retries_refused.value();
        for (sum, count) in self.queue.iter_mut().zip(service.queue.values()) {
            *sum += count;
        }
        self.panics += service.panics.value();
    }

    fn report(self, service: &Name, counters: &mut Counters) {
        self.report_reasons(service, counters);
        for ((backend, code), count) in self.codes {
            counters.requests.push(RequestCount {
                service: service.clone(),
                backend,
                code,
                count,
            });
        }
        for ((pool, backend), [in_use, ejections]) in self.backends {
            counters.backend_connections.push(BackendConnections {
                service: service.clone(),
                pool,
                backend,
                in_use,
                ejections,
            });
        }
        for (version, counts) in ["1.2", "1.3"].into_iter().zip(self.handshakes) {
            for (resumed, count) in [false, true].into_iter().zip(counts) {
                counters.handshakes.push(HandshakeCount {
                    service: service.clone(),
                    version,
                    resumed,
                    count,
                });
            }
        }
        let routed = self.routes.into_iter();
        let routed = routed.map(|(route, count)| (service.clone(), route, count));
        counters.routed.extend(routed);
        let durations = Durations {
            buckets: self.buckets,
            sum: self.microseconds as f64 / 1e6,
        };
        counters.durations.push((service.clone(), durations));
        let by_service = |list: &mut Vec<(Name, u64)>, count| list.push((service.clone(), count));
        by_service(&mut counters.open_connections, self.open_connections);
        by_service(&mut counters.retries, self.retries);
        by_service(&mut counters.retries_refused, self.retries_refused);
        let [waiting, waited, rejected] = self.queue;
        by_service(&mut counters.queued, waiting);
        by_service(&mut counters.queue_waits, waited);
        by_service(&mut counters.queue_rejections, rejected);
        by_service(&mut counters.panics, self.panics);
    }
}

impl ServiceSum {
    /// Adds the sums by reason to `counters`: of every reason that has occurred, and of all reasons
    /// of invalid requests, even those with a count of 0, so that the first such request shows as
    /// an increase of the metric.
    fn report_reasons(&self, service: &Name, counters: &mut Counters) {
        let report = |list: &mut Vec<ReasonCount>, backend: Option<&InPool>, reason, count| {
            list.push(ReasonCount {
                service: service.clone(),
                backend: backend.cloned(),
                reason,
                count,
            });
        };
        for (backend, counts) in &self.broken {
            for (reason, count) in happened(counts) {
                report(&mut counters.broken, backend.as_ref(), reason, count);
            }
        }
        let mut refusals = [0; Reason::COUNT];
        for (backend, counts) in &self.own {
            for (reason, count) in happened(counts) {
                match reason.by() {
                    By::Client => refusals[reason as usize] += count,
                    _ => report(&mut counters.own_answers, backend.as_ref(), reason, count),
                }
            }
        }
        for refusal in Refusal::ALL {
            let reason = Reason::from(refusal);
            let count = refusals[reason as usize];
            report(&mut counters.refusals, None, reason, count);
        }
        for (reason, count) in happened(&self.closed) {
            let list = match (reason.by(), reason.phase()) {
                (By::Client, Phase::Handshake) => &mut counters.handshake_failures,
                _ => &mut counters.closed,
            };
            report(list, None, reason, count);
        }
    }
}

fn happened(counts: &[u64; Reason::COUNT]) -> impl Iterator<Item = (Reason, u64)> {
    let counts = Reason::ALL.iter().copied().zip(counts.iter().copied());
    counts.filter(|(_, count)| *count > 0)
}

fn add_all(sums: &mut [u64], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.value();
    }
}
