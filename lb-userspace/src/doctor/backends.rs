//! Checks of `lb doctor` about backends: the routes to them, and whether they answer.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    config::{self, Backend, CheckKind, Config},
    dataplane,
    health::{Failure, probe},
    netlink::{Rtnetlink, Way},
};

pub(super) static ROUTE: Check = Check {
    name: "route",
    group: Group::Backends,
    looks_at: "The route to each backend, and for `tcp` services whether it leaves by an interface of \
               `[node]`.",
    why: "The XDP program sends packets out of interfaces that have it; the agent refuses backends that it \
          cannot reach.",
    fix: "Add a route, correct the address, or add the interface to `node.interfaces`.",
};

pub(super) static ANSWER: Check = Check {
    name: "backend",
    group: Group::Backends,
    looks_at: "Each backend, once, with the health check of its pool; without one, by a TCP connection.",
    why: "A backend that fails its check gets no traffic.",
    fix: "Start the server, open the port in its firewall or security group, or correct `check`.",
};

pub(super) static CHECKS: [&Check; 2] = [&ROUTE, &ANSWER];

/// Maximum number of backends that are probed at the same time.
const AT_ONCE: usize = 128;

/// Checks the route to each backend.
pub(super) fn routes(config: &Config) -> Vec<Finding> {
    let refused = match dataplane::unreachable(&config.node.interfaces, &config.services) {
        Ok(refused) => refused,
        Err(error) => return vec![ROUTE.skipped("", error)],
    };
    let refused: HashMap<SocketAddr, _> =
        refused.into_iter().map(|one| (one.address, one)).collect();
    let mut kernel = Rtnetlink::open().ok();
    each(config)
        .map(
            |(_, backend)| match (refused.get(&backend.address), &mut kernel) {
                (Some(refusal), _) => ROUTE.fail(label(backend), &refusal.message, &refusal.hint),
                (None, Some(kernel)) => route(backend, way(kernel, backend.address.ip())),
                (None, None) => ROUTE.skipped(label(backend), "routes cannot be looked up"),
            },
        )
        .collect()
}

fn way(kernel: &mut Rtnetlink, address: IpAddr) -> Option<Way> {
    match address {
        IpAddr::V4(address) => kernel.way_to(address).ok(),
        IpAddr::V6(_) => None,
    }
}

fn route(backend: &Backend, way: Option<Way>) -> Finding {
    let address = backend.address.ip();
    match way {
        Some(Way::Nowhere(why)) => ROUTE.fail(
            label(backend),
            format!("this host has no route to it ({why})"),
            format!("see `ip route get {address}`: add a route, or correct the address"),
        ),
        Some(Way::Local) => ROUTE.ok(label(backend), "on this host"),
        Some(Way::Out(interfaces)) => {
            let names = interfaces.into_iter().map(|index| {
                let name = nix::net::if_::if_indextoname(index);
                name.map_or_else(
                    |_| index.to_string(),
                    |name| name.to_string_lossy().into_owned(),
                )
            });
            let names: Vec<_> = names.collect();
            ROUTE.ok(label(backend), format!("leaves by {}", names.join(" and ")))
        }
        None => ROUTE.skipped(label(backend), "IPv6 routes are not looked up"),
    }
}

/// Makes the health check of each backend once. No probe takes longer than `limit`.
pub(super) async fn answers(config: &Config, limit: Duration) -> Vec<Finding> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut probes = JoinSet::new();
    for (place, (check, backend)) in each(config).enumerate() {
        let check = check.clone();
        let check = config::Check {
            timeout: check.timeout.min(limit),
            ..check
        };
        let (address, slots) = (backend.address, Arc::clone(&slots));
        probes.spawn(async move {
            let _slot = slots.acquire().await;
            (place, probe(address, &check).await)
        });
    }
    let mut outcomes: Vec<_> = probes.join_all().await;
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    let backends = each(config).map(|(_, backend)| backend);
    backends
        .zip(outcomes)
        .map(|(backend, (_, outcome))| answer(backend, outcome))
        .collect()
}

fn answer(backend: &Backend, outcome: Result<(), Failure>) -> Finding {
    let subject = label(backend);
    let (ip, port) = (backend.address.ip(), backend.address.port());
    let Err(failure) = outcome else {
        return ANSWER.ok(subject, "healthy");
    };
    let fix = match failure {
        Failure::Refused => format!("start the server on {ip}, or correct the port {port}"),
        Failure::TimedOut(_) | Failure::Connection(_) => format!(
            "check that the host {ip} runs, and that firewalls and security groups let TCP port {port} of \
             this host pass"
        ),
        Failure::Status { .. } => {
            "see the log of the server; if the status is right, set `expect` or `path` in `check`"
                .to_owned()
        }
        Failure::Closed | Failure::NotHttp(_) => {
            "check that the port serves HTTP without TLS; else use a check of type \"tcp\""
                .to_owned()
        }
    };
    ANSWER.fail(subject, failure, fix)
}

/// Returns one backend for each address, with the health check of the first pool that has a backend
/// with that address.
fn each(config: &Config) -> impl Iterator<Item = (config::Check, &Backend)> {
    let mut seen = HashSet::new();
    let all = config
        .pools
        .iter()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)));
    let unique = all.filter(move |(_, backend)| seen.insert(backend.address));
    unique.map(|(pool, backend)| (pool.check.clone().unwrap_or(BY_TCP), backend))
}

/// The check of backends whose pool has no health check: a TCP connection.
const BY_TCP: config::Check = config::Check {
    kind: CheckKind::Tcp,
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(1),
    rise: 1,
    fall: 1,
};

fn label(backend: &Backend) -> String {
    let address = backend.address.to_string();
    match backend.name.as_str() == address {
        true => address,
        false => format!("{} ({address})", backend.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Name, Weight},
        doctor::State,
    };

    fn backend(name: &str) -> Backend {
        Backend {
            name: Name::parse(name).expect("a name"),
            address: SocketAddr::from(([10, 0, 0, 6], 80)),
            weight: Weight::ONE,
            backup: false,
            leaving: false,
        }
    }

    #[test]
    fn each_failure_has_a_fix_of_its_own() {
        let web1 = backend("web1");
        let fix = |failure| {
            let finding = answer(&web1, Err(failure));
            assert_eq!(finding.state, State::Fail);
            assert_eq!(finding.subject, "web1 (10.0.0.6:80)");
            finding.fix.expect("a fix")
        };
        assert!(fix(Failure::Refused).contains("start the server on 10.0.0.6"));
        assert!(fix(Failure::TimedOut(Duration::from_secs(1))).contains("security groups"));
        let status = Failure::Status {
            found: 500,
            wanted: 200..=399,
        };
        assert!(fix(status).contains("`expect`"));
        assert!(fix(Failure::Closed).contains("without TLS"));
        assert_eq!(answer(&web1, Ok(())).state, State::Ok);
    }

    #[test]
    fn a_backend_without_a_route_is_a_failure_with_the_reason_of_the_kernel() {
        let unnamed = backend("10.0.0.6:80");
        let finding = route(&unnamed, Some(Way::Nowhere("No route to host".to_owned())));
        assert_eq!(
            (finding.state, finding.subject.as_str()),
            (State::Fail, "10.0.0.6:80")
        );
        assert!(finding.found.contains("No route to host"));
        assert_eq!(route(&unnamed, Some(Way::Local)).state, State::Ok);
        assert_eq!(route(&unnamed, None).state, State::Skipped);
    }
}
