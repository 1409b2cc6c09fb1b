//! Computes rates per second from two statuses of the agent, without I/O or a clock.

use std::{collections::HashMap, time::Duration};

use crate::admin::{BackendStatus, ServiceStatus, State, Status};

/// The shortest time between two statuses that rates are computed from.
const SHORTEST: Duration = Duration::from_millis(50);

/// The rates and states of services, backends and dropped packets that `lb top` shows at one
/// moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) services: Vec<ServiceRates>,
    pub(super) backends: Vec<BackendRates>,
    /// For each reason for which the XDP program dropped packets: the reason, dropped packets per
    /// second (`None` if not known yet), and the number since the maps were created. The reason
    /// with the highest rate comes first.
    pub(super) drops: Vec<(String, Option<f64>, u64)>,
    /// Number of packets per second that the XDP program received; `None` if not known yet.
    pub(super) packets: Option<f64>,
}

/// Numbers of a service, most of them per second. A number is `None` if it is not known yet, or not
/// counted for services of this mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceRates {
    pub(super) name: String,
    pub(super) mode: String,
    pub(super) listen: String,
    /// The number of backends that are up, and the number of all backends, in the pools of the
    /// service.
    pub(super) up: (usize, usize),
    /// Number of client connections that are open; `None` for a service that the kernel steers.
    pub(super) open: Option<u64>,
    pub(super) connections: Option<f64>,
    pub(super) requests: Option<f64>,
    pub(super) bytes_in: Option<f64>,
    pub(super) bytes_out: Option<f64>,
    pub(super) errors: Option<f64>,
}

/// The state of a backend and its rates per second. A rate is `None` if it is not known yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackendRates {
    pub(super) pool: String,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) state: State,
    /// Whether the backend is ejected for failing requests.
    pub(super) ejected: bool,
    /// Number of connections to the backend that have a request in flight.
    pub(super) open: u64,
    pub(super) connections: Option<f64>,
    pub(super) requests: Option<f64>,
    pub(super) bytes: Option<f64>,
    /// Duration of the backend's last health check; `None` if there was none.
    pub(super) check: Option<Duration>,
    /// Why the backend's last health check failed; `None` if it succeeded.
    pub(super) failure: Option<String>,
}

/// The time between two statuses, and whether the agent was restarted between them.
#[derive(Clone, Copy)]
struct Span {
    seconds: f64,
    restarted: bool,
}

impl Span {
    /// Returns the time between two statuses; `None` if there is no earlier status, or they are
    /// less than [`SHORTEST`] apart, or the clock was set back.
    fn between(before: Option<&Status>, now: &Status) -> Option<Self> {
        let before = before?;
        let elapsed = now.now.since(before.now);
        (elapsed >= SHORTEST).then(|| Self {
            seconds: elapsed.as_secs_f64(),
            restarted: now.started != before.started,
        })
    }

    /// Returns the rate per second of a counter that the kernel keeps. It is not reset when the
    /// agent restarts, but by `lb unload`.
    fn of_kernel(self, before: u64, now: u64) -> f64 {
        let more = now.checked_sub(before).unwrap_or(now);
        more as f64 / self.seconds
    }

    /// Returns the rate per second of a counter that the agent keeps. It starts at 0 in each
    /// process.
    fn of_agent(self, before: u64, now: u64) -> f64 {
        self.of_kernel(if self.restarted { 0 } else { before }, now)
    }
}

impl Rates {
    /// Computes the rates between two statuses. If there is no earlier status, all rates are
    /// `None`.
    pub(super) fn between(before: Option<&Status>, now: &Status) -> Self {
        let span = Span::between(before, now);
        let before = before.filter(|_| span.is_some());
        let services = now.services.iter().map(|service| {
            let mut earlier = before.into_iter().flat_map(|it| &it.services);
            let earlier = earlier.find(|it| it.name == service.name);
            service_rates(span.zip(earlier), service, now)
        });
        Self {
            services: services.collect(),
            backends: all_backends(before, now, span),
            drops: drops(before, now, span),
            packets: span
                .zip(before)
                .map(|(span, before)| span.of_kernel(before.xdp.packets, now.xdp.packets)),
        }
    }
}

fn service_rates(
    earlier: Option<(Span, &ServiceStatus)>,
    now: &ServiceStatus,
    status: &Status,
) -> ServiceRates {
    let kernel = |of: fn(&ServiceStatus) -> u64| {
        earlier.map(|(span, before)| span.of_kernel(of(before), of(now)))
    };
    let agent = |of: fn(&ServiceStatus) -> Option<u64>| {
        let (span, before) = earlier?;
        Some(span.of_agent(of(before)?, of(now)?))
    };
    let names: Vec<_> = now.pool.split(", ").collect();
    let pools = status
        .pools
        .iter()
        .filter(|pool| names.contains(&&*pool.name));
    let backends: Vec<_> = pools.flat_map(|pool| &pool.backends).collect();
    let up = backends.iter().filter(|backend| backend.state == State::Up);
    ServiceRates {
        name: now.name.clone(),
        mode: now.mode.clone(),
        listen: now.listen.to_string(),
        up: (up.count(), backends.len()),
        open: now.open_connections,
        connections: kernel(|it| it.connections),
        requests: agent(|it| it.requests),
        bytes_in: kernel(|it| it.bytes_in),
        bytes_out: now
            .bytes_out
            .and_then(|_| kernel(|it| it.bytes_out.unwrap_or_default())),
        errors: agent(|it| it.errors),
    }
}

fn all_backends(before: Option<&Status>, now: &Status, span: Option<Span>) -> Vec<BackendRates> {
    let mut earlier = HashMap::new();
    for pool in before.into_iter().flat_map(|before| &before.pools) {
        for backend in &pool.backends {
            earlier.insert((&*pool.name, backend.address), backend);
        }
    }
    let mut backends = Vec::new();
    for pool in &now.pools {
        for backend in &pool.backends {
            let earlier = earlier.get(&(&*pool.name, backend.address)).copied();
            backends.push(backend_rates(&pool.name, span.zip(earlier), backend));
        }
    }
    backends
}

fn backend_rates(
    pool: &str,
    earlier: Option<(Span, &BackendStatus)>,
    now: &BackendStatus,
) -> BackendRates {
    let kernel = |of: fn(&BackendStatus) -> u64| {
        earlier.map(|(span, before)| span.of_kernel(of(before), of(now)))
    };
    let check = now.last_check.as_ref();
    BackendRates {
        pool: pool.to_owned(),
        name: now.name.clone(),
        address: now.address.to_string(),
        state: now.state,
        ejected: now.ejected_until.is_some(),
        open: now.open_connections,
        connections: kernel(|it| it.connections),
        requests: earlier.map(|(span, before)| span.of_agent(before.requests, now.requests)),
        bytes: kernel(|it| it.bytes),
        check: check.and_then(|check| Duration::try_from_secs_f64(check.seconds).ok()),
        failure: check.and_then(|check| check.error.clone()),
    }
}

fn drops(
    before: Option<&Status>,
    now: &Status,
    span: Option<Span>,
) -> Vec<(String, Option<f64>, u64)> {
    let rate = |reason: &str, packets: u64| {
        let earlier = before?.xdp.drops.iter().find(|drop| drop.reason == reason);
        Some(span?.of_kernel(earlier.map_or(0, |drop| drop.packets), packets))
    };
    let drops = now.xdp.drops.iter();
    let drops = drops.map(|it| (it.reason.clone(), rate(&it.reason, it.packets), it.packets));
    let mut drops: Vec<_> = drops.collect();
    drops.sort_by(|one, other| {
        let rates = (other.1.unwrap_or(0.0), one.1.unwrap_or(0.0));
        rates.0.total_cmp(&rates.1).then(other.2.cmp(&one.2))
    });
    drops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{DropStatus, Moment, examples_of_status as status};

    fn later(seconds: u64) -> Status {
        let mut later = status();
        later.now = Moment(later.now.0 + Duration::from_secs(seconds));
        later
    }

    #[test]
    fn rates_are_differences_per_second() {
        let mut now = later(2);
        now.services[0].connections += 100;
        now.services[0].bytes_in += 4096;
        now.services[1].requests = Some(1000 + 50);
        now.services[1].errors = Some(3 + 2);
        now.pools[0].backends[1].requests += 8;
        now.xdp.packets += 600;
        now.xdp.drops = vec![
            DropStatus {
                reason: "malformed".to_owned(),
                packets: 7,
            },
            DropStatus {
                reason: "no_neighbour".to_owned(),
                packets: 10,
            },
        ];
        let rates = Rates::between(Some(&status()), &now);
        assert_eq!(rates.services[0].connections, Some(50.0));
        assert_eq!(rates.services[0].bytes_in, Some(2048.0));
        assert_eq!(
            rates.services[0].requests, None,
            "the kernel sees no requests"
        );
        assert_eq!(rates.services[1].requests, Some(25.0));
        assert_eq!(rates.services[1].errors, Some(1.0));
        assert_eq!(rates.services[0].up, (1, 3));
        assert_eq!(rates.backends[1].requests, Some(4.0));
        assert_eq!(rates.packets, Some(300.0));
        let drops: Vec<_> = rates.drops.iter().map(|it| (&*it.0, it.1, it.2)).collect();
        assert_eq!(
            drops,
            [("no_neighbour", Some(5.0), 10), ("malformed", Some(0.0), 7)]
        );
    }

    #[test]
    fn the_first_status_has_no_rates() {
        for before in [None, Some(&status()), Some(&later(5))] {
            let rates = Rates::between(before, &status());
            assert_eq!(rates.services[0].connections, None);
            assert_eq!(rates.packets, None);
            assert_eq!(rates.backends.len(), 3);
        }
    }

    #[test]
    fn a_counter_that_starts_again_gives_no_negative_and_no_huge_rate() {
        // After a restart of the agent its own counters begin at 0, while the counters of the
        // kernel continue.
        let mut now = later(10);
        now.started = now.now;
        now.services[1].requests = Some(1500);
        now.services[0].connections += 20;
        let rates = Rates::between(Some(&status()), &now);
        assert_eq!(rates.services[1].requests, Some(150.0));
        assert_eq!(rates.services[0].connections, Some(2.0));
        // After `lb unload` the counters of the kernel begin at 0, too.
        now.services[0].connections = 30;
        let rates = Rates::between(Some(&status()), &now);
        assert_eq!(rates.services[0].connections, Some(3.0));
    }

    #[test]
    fn a_service_that_is_new_has_no_rate_yet() {
        let mut before = status();
        before.services.clear();
        let rates = Rates::between(Some(&before), &later(1));
        assert_eq!(rates.services[0].connections, None);
    }
}
