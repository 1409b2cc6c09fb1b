//! Checks of `lb doctor` about the addresses and ports of the configuration: which process listens
//! there, and whether the host has the addresses.

mod sockets;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use nix::ifaddrs::getifaddrs;

use self::sockets::{Listener, listeners};
use super::{
    check::{Check, Group},
    finding::Finding,
};
use crate::config::{Config, Ha, Mode, Moves};

pub(super) static PORT: Check = Check {
    name: "port",
    group: Group::Host,
    looks_at: "Each address and port that the agent listens on (`[admin]`, services of mode `http` and \
               `https`, `[ha.link]`), and the process that listens there now.",
    why: "The agent does not start if another process, such as HAProxy, has the port. Behind a service of \
          mode `tcp` a local process is never reached.",
    fix: "Stop the process that the finding names, or change `listen`.",
};

pub(super) static ADDRESS: Check = Check {
    name: "service_address",
    group: Group::Host,
    looks_at: "Whether the address of each service is on an interface of this host, unless it moves between \
               the hosts of a pair; and in a pair with virtual IPs, whether it is one of them.",
    why: "The agent cannot listen on an address that this host lacks, and the host does not answer ARP \
          requests for it, so that packets for a `tcp` service do not arrive. A service on an address that \
          stays with one host is gone with that host, and is not reached by the address that moves.",
    fix: "`ip address add ADDRESS/PREFIX dev IFACE`, or correct `listen`.",
};

pub(super) static CHECKS: [&Check; 2] = [&PORT, &ADDRESS];

/// Makes the checks about addresses and ports. `agent` is the process ID of the running agent;
/// `None` if no agent runs.
pub(super) fn check(config: &Config, agent: Option<i32>) -> Vec<Finding> {
    let listeners = listeners();
    let mut findings: Vec<_> = wanted(config)
        .iter()
        .map(|wanted| judge(wanted, &listeners, agent))
        .collect();
    match addresses() {
        Ok(present) => findings.extend(judge_addresses(config, &present)),
        Err(error) => findings.push(ADDRESS.skipped("", format!("cannot list addresses: {error}"))),
    }
    findings
}

/// An address and port of the configuration, on which lb is to receive connections.
#[derive(Clone, Debug)]
struct Wanted {
    address: SocketAddr,
    /// What the address and port are for, such as a service, as text for the output.
    purpose: String,
    /// Whether the kernel steers the connections to this address and port, so that the agent does
    /// not listen there.
    is_steered: bool,
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let services = config.services.iter().map(|service| Wanted {
        address: service.listen,
        purpose: format!("service {}", service.name),
        is_steered: matches!(service.mode, Mode::Tcp { .. }),
    });
    let admin = Wanted {
        address: config.admin.listen,
        purpose: "[admin]".to_owned(),
        is_steered: false,
    };
    [admin]
        .into_iter()
        .chain(services)
        .chain(link(config.ha.as_ref()))
        .collect()
}

/// Returns the address and port at which the agent waits for the link from its peer; `None` if it
/// does not wait: only the host with the higher address does, and the other one connects.
fn link(ha: Option<&Ha>) -> Option<Wanted> {
    let ha = ha?;
    let link = ha.link.as_ref()?;
    (ha.source > ha.peer).then(|| Wanted {
        address: SocketAddr::new(ha.source, link.port),
        purpose: "[ha.link]".to_owned(),
        is_steered: false,
    })
}

fn judge(wanted: &Wanted, listeners: &[Listener], agent: Option<i32>) -> Finding {
    let Wanted {
        address, purpose, ..
    } = wanted;
    let subject = format!("{purpose} {address}");
    let there: Vec<_> = listeners
        .iter()
        .filter(|one| one.covers(*address))
        .collect();
    let is_agents = |one: &&Listener| agent.is_some_and(|agent| one.pids.contains(&agent));
    let other = there.iter().find(|one| !is_agents(one));
    match (other, wanted.is_steered) {
        (None, true) => PORT.ok(
            subject,
            "steered in the kernel, and no process listens there",
        ),
        (None, false) if there.is_empty() && agent.is_some() => PORT.fail(
            subject,
            "an agent is running, but does not listen there",
            "apply the configuration: `lb reload`, or `lb upgrade` if the reload asks for it",
        ),
        (None, false) if there.is_empty() => PORT.ok(subject, "free"),
        (None, false) => PORT.ok(subject, "the running agent listens there"),
        (Some(other), _) if other.pids.is_empty() => PORT.warn(
            subject,
            format!("{other} listens there"),
            format!(
                "run this as root to see whether it is the agent; or {}",
                other.how_to_stop()
            ),
        ),
        (Some(other), true) => PORT.warn(
            subject,
            format!("{other} listens there, but the kernel steers all connections to the backends"),
            format!("{}; or serve it with mode = \"http\"", other.how_to_stop()),
        ),
        (Some(other), false) => PORT.fail(
            subject,
            format!("{other} listens there, so the agent cannot"),
            format!(
                "{}; or change the address in the configuration",
                other.how_to_stop()
            ),
        ),
    }
}

fn addresses() -> nix::Result<HashSet<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(addresses.collect())
}

fn judge_addresses(config: &Config, present: &HashSet<IpAddr>) -> Vec<Finding> {
    let moving = config
        .ha
        .as_ref()
        .map(Ha::moving_addresses)
        .unwrap_or_default();
    let virtual_ips = config.ha.as_ref().and_then(|ha| match &ha.moves {
        Moves::VirtualIp(_) => {
            let listed: Vec<_> = moving.iter().map(IpAddr::to_string).collect();
            Some(listed.join(", "))
        }
        Moves::ElasticIp(_) | Moves::Commands => None,
    });
    let mut seen = HashSet::new();
    let services = config.services.iter().map(|service| service.listen.ip());
    let services = services.filter(|address| seen.insert(*address));
    services
        .map(|address| {
            if moving.contains(&address) {
                return ADDRESS.ok(address, "moves between the hosts of the pair");
            }
            if address.is_unspecified() || present.contains(&address) {
                return match (&virtual_ips, address.is_loopback()) {
                    (Some(virtual_ips), false) if !address.is_unspecified() => ADDRESS.warn(
                        address,
                        format!("stays with this host: it is not a virtual IP of the pair ({virtual_ips})"),
                        "let the service listen on a virtual IP, on both hosts; ignore this if the service is for this host only",
                    ),
                    _ => ADDRESS.ok(address, "on an interface of this host"),
                };
            }
            let length = if address.is_ipv4() { 32 } else { 128 };
            let interface = config.node.interfaces.first();
            ADDRESS.fail(
                address,
                "no interface of this host has the address of the service",
                format!(
                    "`ip address add {address}/{length} dev {interface}` (on AWS, also assign it to the \
                     network interface), or correct `listen`"
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::doctor::State;

    fn wanted(address: &str, is_steered: bool) -> Wanted {
        Wanted {
            address: address.parse().expect("an address"),
            purpose: "service https".to_owned(),
            is_steered,
        }
    }

    fn listener(address: &str, pid: Option<i32>) -> Listener {
        Listener {
            address: address.parse().expect("an address"),
            inode: 1,
            pids: pid.into_iter().collect(),
            name: pid.map(|_| "haproxy".to_owned()),
        }
    }

    fn state(wanted: &Wanted, listeners: &[Listener], agent: Option<i32>) -> State {
        judge(wanted, listeners, agent).state
    }

    #[test]
    fn another_process_on_the_port_is_named_with_how_to_stop_it() {
        let https = wanted("172.31.0.68:443", false);
        let haproxy = [listener("0.0.0.0:443", Some(42))];
        let finding = judge(&https, &haproxy, None);
        assert_eq!(finding.state, State::Fail);
        assert!(
            finding.found.contains("haproxy (process 42)"),
            "{finding:?}"
        );
        assert!(finding.fix.expect("a fix").contains("`kill 42`"));
        assert_eq!(
            state(&https, &[listener("0.0.0.0:80", Some(42))], None),
            State::Ok
        );
        assert_eq!(
            state(&https, &[listener("127.0.0.1:443", Some(42))], None),
            State::Ok
        );
        assert_eq!(
            state(&https, &[listener("[::]:443", Some(42))], None),
            State::Fail
        );
    }

    #[test]
    fn a_port_that_the_agent_itself_holds_is_no_conflict() {
        let https = wanted("172.31.0.68:443", false);
        let own = [listener("172.31.0.68:443", Some(7))];
        assert_eq!(state(&https, &own, Some(7)), State::Ok);
        assert_eq!(state(&https, &own, None), State::Fail);
        assert_eq!(
            state(&https, &[], Some(7)),
            State::Fail,
            "the agent should listen"
        );
        let unknown = [listener("172.31.0.68:443", None)];
        assert_eq!(
            state(&https, &unknown, Some(7)),
            State::Warn,
            "it may be the agent"
        );
    }

    #[test]
    fn a_process_behind_a_steered_port_is_a_warning() {
        let http = wanted("172.31.0.68:80", true);
        assert_eq!(state(&http, &[], Some(7)), State::Ok);
        let shadowed = [listener("0.0.0.0:80", Some(42))];
        assert_eq!(state(&http, &shadowed, Some(7)), State::Warn);
    }

    /// Returns the finding about the address of a service of a pair, on a host that has
    /// 172.31.0.68.
    fn address_of_service(listen: &str, moves: &str) -> Finding {
        let text = format!(
            "[node]\nname = \"lb-a\"\ninterface = \"eth0\"\n\
             [[pool]]\nname = \"web\"\nbackends = [\"10.0.0.6:80\"]\n\
             [[service]]\nname = \"http\"\nlisten = \"{listen}:80\"\nmode = \"http\"\npool = \"web\"\n\
             [ha]\npeer = \"172.31.15.233\"\nsource = \"172.31.0.68\"\nvirtual_router_id = 41\n{moves}\n"
        );
        let parsed = Config::parse(Path::new("lb.toml"), &text);
        let parsed = parsed.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        let present = ["172.31.0.68", "127.0.0.1"].map(|one| one.parse().expect("an address"));
        let mut findings = judge_addresses(&parsed.config, &present.into());
        findings.pop().expect("a finding")
    }

    #[test]
    fn a_service_on_an_address_that_stays_is_a_warning_where_virtual_ips_move() {
        let moves = "[ha.virtual_ip]\naddresses = [\"172.31.0.200/20\"]";
        let stays = address_of_service("172.31.0.68", moves);
        assert_eq!(stays.state, State::Warn);
        assert!(stays.found.contains("(172.31.0.200)"), "{}", stays.found);
        for listen in ["172.31.0.200", "127.0.0.1", "0.0.0.0"] {
            let state = address_of_service(listen, moves).state;
            assert_eq!(state, State::Ok, "{listen}");
        }
        let elastic = "[ha.elastic_ip]\nallocation_id = \"eipalloc-0123456789abcdef0\"\n\
                       region = \"me-central-1\"\nprivate_ip = \"172.31.0.68\"";
        let own = address_of_service("172.31.0.68", elastic);
        assert_eq!(own.state, State::Ok, "the Elastic IP leads to it");
    }
}
