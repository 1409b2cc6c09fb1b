//! Checks of `lb doctor` about the pair: this host's address for the peer, the pair's secret, the
//! link to the peer, and adverts.

mod listen;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use lb_ha::vrrp::State as Role;

use self::listen::Heard;
use super::{
    agent::{Account, RunningAgent},
    check::{Check, Group},
    files::judge_private,
    finding::Finding,
};
use crate::{
    config::{Config, Ha},
    peer::{PEER_REFUSED, Secret, SecretError, SecretProblem},
};

pub(super) static SOURCE: Check = Check {
    name: "pair_source",
    group: Group::Pair,
    looks_at: "Whether `ha.source` is an address of this host.",
    why: "Adverts are sent from it, and the peer accepts adverts from it alone.",
    fix: "Set `ha.source` to an address of this host, and `ha.peer` on the other host to the same.",
};

pub(super) static SECRET: Check = Check {
    name: "pair_secret",
    group: Group::Pair,
    looks_at: "The file of `[ha.link] secret_file`: its content, owner and mode.",
    why: "Both agents prove to each other that they have it. The agent refuses a file that other users can \
          read.",
    fix: "`lb peer init` on one host, copy the file to the other, and on both `chown lb: FILE` and \
          `chmod 600 FILE`.",
};

pub(super) static LINK: Check = Check {
    name: "pair_link",
    group: Group::Pair,
    looks_at: "Whether the two agents are connected; without a running agent, whether the peer can be \
               reached by TCP (the host with the lower address connects, the other waits 3 s for its peer).",
    why: "Flows, certificates, session keys and a second path for heartbeats use it.",
    fix: "Start lb on the peer; allow TCP port 9146 between the hosts, in firewalls and security groups.",
};

pub(super) static ADVERTS: Check = Check {
    name: "pair_adverts",
    group: Group::Pair,
    looks_at: "Adverts of the peer (IP protocol 112), for three intervals and at least a second. The active \
               host sends them, so the active host receives none.",
    why: "Without adverts the standby relies on the link alone, or takes over although the active host \
          works.",
    fix: "Allow IP protocol 112 between the hosts, in firewalls and security groups; use the same \
          `virtual_router_id` on both.",
};

pub(super) static CHECKS: [&Check; 4] = [&SOURCE, &SECRET, &LINK, &ADVERTS];

/// Makes the checks about the pair; none if the configuration has no `[ha]`. No check takes longer
/// than `limit`.
pub(super) async fn check(
    config: &Config,
    agent: Option<&RunningAgent>,
    limit: Duration,
) -> Vec<Finding> {
    let Some(ha) = &config.ha else {
        return Vec::new();
    };
    let status = agent.and_then(|agent| agent.status.as_ref());
    let status = status.and_then(|status| status.ha.as_ref());
    let mut findings = vec![source(ha.source, has_address(ha.source))];
    let interval = ha.advert_interval * 3 + Duration::from_millis(200);
    let span = interval.max(Duration::from_secs(1)).min(limit);
    let hear = listen::adverts(ha, &config.node, span);
    let link = async {
        let Some(link) = &ha.link else {
            return None;
        };
        if agent.is_some() {
            return None;
        }
        let (source, peer) = (
            SocketAddr::new(ha.source, link.port),
            SocketAddr::new(ha.peer, link.port),
        );
        Some(match source < peer {
            true => Reached::of(listen::connect(source.ip(), peer, limit).await),
            false => Reached::of(listen::accept(source, peer.ip(), limit).await),
        })
    };
    let (heard, reached) = tokio::join!(hear, link);
    if let Some(link) = &ha.link {
        let file = link.secret_file.as_path();
        let account = Account::of(agent);
        let read = Secret::read_as(file, account.reader());
        findings.push(secret(file, read, account));
        findings.push(match (agent, status, &reached) {
            (Some(_), Some(status), _) => {
                let problem = status
                    .link
                    .as_ref()
                    .and_then(|link| link.problem.as_deref());
                let is_up = status.link.as_ref().is_some_and(|link| link.up);
                running_link(ha, link.port, is_up, problem)
            }
            (_, _, Some(reached)) => first_link(ha, link.port, reached),
            _ => LINK.skipped(ha.peer, "the agent does not report it"),
        });
    }
    let place = Place {
        role: status.map(|status| status.role),
        peer_runs: reached
            .as_ref()
            .map(|reached| matches!(reached, Reached::Yes)),
    };
    findings.push(adverts(ha, heard, place, span));
    findings
}

fn has_address(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

fn source(address: IpAddr, present: bool) -> Finding {
    match present {
        true => SOURCE.ok(address, "an address of this host"),
        false => SOURCE.fail(
            address,
            "no interface of this host has this address",
            "set `ha.source` to an address of this host; on a host that was copied from its peer, exchange \
             `source` and `peer`",
        ),
    }
}

fn secret(file: &Path, read: Result<Secret, SecretError>, account: Account) -> Finding {
    let subject = file.display();
    let read = match read {
        Ok(secret) => Ok(format!(
            "fingerprint {}; `lb doctor` on the peer must show the same",
            secret.fingerprint()
        )),
        Err(SecretError {
            problem: SecretProblem::File(problem),
            ..
        }) => Err(problem),
        Err(SecretError { problem, .. }) => {
            let fix = match problem {
                SecretProblem::Missing => format!(
                    "`lb peer init --out {subject}` on one host, then copy the file to the other"
                ),
                _ => "copy the file from the other host again".to_owned(),
            };
            return SECRET.fail(subject, problem, fix);
        }
    };
    judge_private(&SECRET, file, read, account)
}

/// Whether a TCP connection with the peer was made on the port of `[ha.link]`.
#[derive(Debug)]
enum Reached {
    Yes,
    /// The peer's host refused the connection: no process listens on the port.
    Refused,
    /// The peer's host did not answer, or the peer did not connect, within the time limit.
    Silent,
    /// An error of this host prevented the connection.
    Error(io::Error),
}

impl Reached {
    fn of(outcome: io::Result<()>) -> Self {
        match outcome {
            Ok(()) => Self::Yes,
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Self::Refused,
                io::ErrorKind::TimedOut => Self::Silent,
                _ => Self::Error(error),
            },
        }
    }
}

fn allow(port: u16, ha: &Ha) -> String {
    format!(
        "on both hosts, allow TCP port {port} from the other one ({} and {}): in the host's firewall, and in \
         the security groups on AWS",
        ha.source, ha.peer
    )
}

fn running_link(ha: &Ha, port: u16, is_up: bool, problem: Option<&str>) -> Finding {
    if is_up {
        return LINK.ok(ha.peer, "connected");
    }
    let problem = problem.unwrap_or("the peer has not connected");
    if let Some(why) = problem.strip_prefix(PEER_REFUSED) {
        let (why, fix) = why
            .split_once("; ")
            .unwrap_or((why, "see the log of both hosts: `journalctl -u lb`"));
        return LINK.fail(ha.peer, format!("not connected: {PEER_REFUSED}{why}"), fix);
    }
    LINK.fail(
        ha.peer,
        format!("not connected: {problem}"),
        format!(
            "start lb on the peer (`systemctl start lb`); {}",
            allow(port, ha)
        ),
    )
}

fn first_link(ha: &Ha, port: u16, reached: &Reached) -> Finding {
    let peer = ha.peer;
    match reached {
        Reached::Yes => LINK.ok(peer, format!("reached by TCP port {port}")),
        Reached::Refused => LINK.warn(
            peer,
            format!("its host answers, but no process listens on port {port}"),
            "start lb on the peer, with [ha.link]: `systemctl start lb`",
        ),
        Reached::Silent if ha.source < ha.peer => LINK.fail(
            peer,
            format!("no answer on TCP port {port}"),
            format!("check that the host runs; {}", allow(port, ha)),
        ),
        Reached::Silent => LINK.warn(
            peer,
            format!("the peer did not connect to port {port} of this host"),
            format!(
                "start lb on the peer (`systemctl start lb`); {}",
                allow(port, ha)
            ),
        ),
        Reached::Error(error) => LINK.fail(
            peer,
            format!("cannot use port {port}: {error}"),
            format!("correct the line of `{}` or `port` first", SOURCE.name),
        ),
    }
}

/// What is known about the agents of both hosts when the adverts are checked.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The VRRP role of the agent on this host; `None` if no agent runs, or if it does not report
    /// its role.
    role: Option<Role>,
    /// Whether the peer's agent runs; `None` if that is not known, as when an agent runs on this
    /// host and so the peer's port was not probed.
    peer_runs: Option<bool>,
}

fn adverts(ha: &Ha, heard: io::Result<Heard>, place: Place, span: Duration) -> Finding {
    let peer = ha.peer;
    let heard = match heard {
        Ok(heard) => heard,
        Err(error) => {
            return ADVERTS.skipped(peer, format!("cannot listen for IP protocol 112: {error}"));
        }
    };
    let own = ha.virtual_router_id.get();
    let allow = format!(
        "allow IP protocol 112 between {} and {peer} on both hosts: in the host's firewall, such as `nft add \
         rule inet filter input ip saddr {peer} ip protocol 112 accept`, and in the security groups on AWS",
        ha.source
    );
    match (heard, place.role) {
        (Heard::Router(id), Some(Role::Master)) if id == own => ADVERTS.fail(
            peer,
            "both hosts are active: adverts of the peer arrive although this host is active",
            format!("see `lb status` on both; {allow}"),
        ),
        (Heard::Router(id), _) if id == own => ADVERTS.ok(peer, "adverts arrive"),
        (Heard::Router(id), _) => ADVERTS.fail(
            peer,
            format!("its adverts are of virtual router {id}, but `virtual_router_id` is {own}"),
            "set `virtual_router_id` to the same number on both hosts",
        ),
        (Heard::Nothing, Some(Role::Master)) => ADVERTS.skipped(
            peer,
            "this host is active, so its peer sends none; run this on the peer",
        ),
        (Heard::Nothing, role) => {
            let found = format!("no advert arrived within {:.1} s", span.as_secs_f64());
            match role.is_some() || place.peer_runs == Some(true) {
                true => ADVERTS.fail(peer, found, allow),
                false => ADVERTS.warn(
                    peer,
                    format!("{found}; the peer may not have been started"),
                    format!("start lb on the peer (`systemctl start lb`); {allow}"),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests;
