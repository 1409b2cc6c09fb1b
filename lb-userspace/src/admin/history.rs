//! The last 15 minutes of rates and latencies, for the graphs of the status page.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use super::{BackendStatus, ServiceStatus, Status};

/// Number of points of a graph: 15 minutes at one point every 5 s.
pub(super) const POINTS: usize = 180;

/// The values of one graph, the oldest first; `None` where the value is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series(VecDeque<Option<f32>>);

impl Series {
    fn push(&mut self, value: Option<f64>) {
        if self.0.len() == POINTS {
            self.0.pop_front();
        }
        self.0.push_back(value.map(|value| value as f32));
    }

    /// Returns the values of the graph, at most [`POINTS`], the oldest first.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = Option<f32>> {
        self.0.iter().copied()
    }

    /// Returns the newest value of the graph; `None` if it is not known.
    pub(super) fn last(&self) -> Option<f32> {
        self.0.back().copied().flatten()
    }

    /// Returns the largest value of the graph; `None` if no value is known.
    pub(super) fn peak(&self) -> Option<f32> {
        self.0.iter().flatten().copied().reduce(f32::max)
    }
}

/// The graphs of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceHistory {
    /// Requests per second; new connections per second for a service that the kernel steers.
    pub(super) rate: Series,
    /// Mean duration of the requests that ended since the previous point of the graph, in seconds;
    /// empty for a service that the kernel steers.
    pub(super) latency: Series,
}

/// The history of a host, for all graphs of the status page.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Packets that the XDP program saw, per second.
    pub(super) packets: Series,
    /// Packets that the XDP program dropped, per second.
    pub(super) drops: Series,
    services: HashMap<String, ServiceHistory>,
    /// Requests and connections per second, by pool and backend.
    backends: HashMap<(String, String), Series>,
    /// The agent's status at the previous point of the graphs; `None` before the first point.
    before: Option<Status>,
}

impl History {
    /// Adds a point to each graph, from the agent's present status. Services and backends that are
    /// no longer configured lose their history.
    pub(super) fn record(&mut self, status: Status) {
        let before = self.before.take();
        let seconds = before
            .as_ref()
            .map_or(0.0, |before| status.now.since(before.now).as_secs_f64());
        let rate = |now: u64, before: Option<u64>| per_second(now, before?, seconds);

        let xdp = before.as_ref().map(|before| &before.xdp);
        let packets = xdp.map(|xdp| xdp.packets);
        self.packets.push(rate(status.xdp.packets, packets));
        let dropped = xdp.map(|xdp| xdp.dropped);
        self.drops.push(rate(status.xdp.dropped, dropped));

        let services_before = before.iter().flat_map(|before| &before.services);
        let services_before: HashMap<_, _> = services_before
            .map(|one| (one.name.as_str(), one))
            .collect();
        let mut services = std::mem::take(&mut self.services);
        for service in &status.services {
            let mut history = services.remove(&service.name).unwrap_or_default();
            let earlier = services_before.get(service.name.as_str());
            let earlier_work = earlier.map(|earlier| work(earlier));
            history.rate.push(rate(work(service), earlier_work));
            if service.requests.is_some() {
                let latency = earlier.and_then(|earlier| mean_latency(earlier, service));
                history.latency.push(latency);
            }
            self.services.insert(service.name.clone(), history);
        }

        let backends_before: HashMap<_, _> = before.iter().flat_map(backends).collect();
        let mut series = std::mem::take(&mut self.backends);
        for ((pool, name), work) in backends(&status) {
            let key = (pool.to_owned(), name.to_owned());
            let mut one = match series.entry(key.clone()) {
                Entry::Occupied(known) => known.remove(),
                Entry::Vacant(_) => Series::default(),
            };
            one.push(rate(work, backends_before.get(&(pool, name)).copied()));
            self.backends.insert(key, one);
        }
        drop((services_before, backends_before));
        self.before = Some(status);
    }

    /// Returns the history of a service; `None` before the first point of its graphs.
    pub(super) fn service(&self, name: &str) -> Option<&ServiceHistory> {
        self.services.get(name)
    }

    /// Returns the requests and connections per second of a backend; `None` before the first point
    /// of its graph.
    pub(super) fn backend(&self, pool: &str, name: &str) -> Option<&Series> {
        self.backends.get(&(pool.to_owned(), name.to_owned()))
    }
}

/// Returns the number of requests of a service, or of connections if the kernel steers the service.
fn work(service: &ServiceStatus) -> u64 {
    service.requests.unwrap_or(service.connections)
}

/// Returns the mean duration of the requests that ended between two statuses, in seconds; `None` if
/// there were none.
fn mean_latency(before: &ServiceStatus, now: &ServiceStatus) -> Option<f64> {
    let requests = now.requests?.checked_sub(before.requests?)?;
    let seconds = now.request_seconds? - before.request_seconds?;
    (requests > 0 && seconds >= 0.0).then(|| seconds / requests as f64)
}

/// Returns all backends by pool and name, with the number of their requests and connections.
fn backends(status: &Status) -> impl Iterator<Item = ((&str, &str), u64)> {
    status.pools.iter().flat_map(|pool| {
        let of_pool = |backend: &BackendStatus| backend.requests + backend.connections;
        let backends = pool.backends.iter();
        backends.map(move |one| ((pool.name.as_str(), one.name.as_str()), of_pool(one)))
    })
}

/// Returns the increase of a counter per second; `None` if the counter was reset or no time has
/// passed.
fn per_second(now: u64, before: u64, seconds: f64) -> Option<f64> {
    let more = now.checked_sub(before)?;
    (seconds > 0.0).then(|| more as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::{Moment, examples_of_status};

    /// Returns the example status as it is `seconds` later, changed by `change`.
    fn later(seconds: u64, change: impl FnOnce(&mut Status)) -> Status {
        let mut status = examples_of_status();
        status.now = Moment(status.now.0 + Duration::from_secs(seconds));
        change(&mut status);
        status
    }

    fn values(series: &Series) -> Vec<Option<f32>> {
        series.values().collect()
    }

    #[test]
    fn rates_are_the_increase_per_second_and_latency_is_that_of_the_new_requests() {
        let mut history = History::default();
        history.record(later(0, |_| {}));
        history.record(later(5, |status| {
            status.xdp.packets += 500;
            status.services[0].connections += 20;
            *status.services[1].requests.as_mut().expect("http") += 10;
            *status.services[1].request_seconds.as_mut().expect("http") += 0.1;
            status.pools[0].backends[1].requests += 5;
            status.pools[0].backends[1].connections += 5;
        }));
        assert_eq!(values(&history.packets), [None, Some(100.0)]);
        assert_eq!(values(&history.drops), [None, Some(0.0)]);
        let tcp = history.service("http").expect("known");
        assert_eq!(values(&tcp.rate), [None, Some(4.0)]);
        assert_eq!(values(&tcp.latency), []);
        let https = history.service("https").expect("known");
        assert_eq!(values(&https.rate), [None, Some(2.0)]);
        assert_eq!(https.latency.last(), Some(0.01));
        let backend = history.backend("web", "web2").expect("known");
        assert_eq!(values(backend), [None, Some(2.0)]);
    }

    #[test]
    fn a_counter_that_was_reset_and_a_clock_that_was_set_back_leave_a_gap() {
        let mut history = History::default();
        history.record(later(0, |_| {}));
        history.record(later(5, |status| status.xdp.packets = 3));
        history.record(later(5, |status| status.xdp.packets = 9));
        assert_eq!(values(&history.packets), [None, None, None]);
    }

    #[test]
    fn no_more_than_15_minutes_are_kept() {
        let mut history = History::default();
        for point in 0..POINTS as u64 + 20 {
            history.record(later(5 * point, |status| status.xdp.packets += 50 * point));
        }
        assert_eq!(history.packets.values().len(), POINTS);
        assert_eq!(history.packets.peak(), Some(10.0));
        assert!(history.packets.values().all(|value| value == Some(10.0)));
    }

    #[test]
    fn what_is_removed_from_the_configuration_loses_its_history() {
        let mut history = History::default();
        history.record(later(0, |_| {}));
        assert!(history.service("https").is_some() && history.backend("web", "web1").is_some());
        history.record(later(5, |status| {
            status.services.truncate(1);
            status.pools[0].backends.remove(0);
        }));
        assert!(history.service("https").is_none() && history.backend("web", "web1").is_none());
        assert!(history.service("http").is_some() && history.backend("web", "web2").is_some());
    }
}
