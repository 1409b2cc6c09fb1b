//! Checks of `lb doctor` about capabilities, limits and sysctls of the host.

use std::{fs, ops::RangeInclusive, path::Path};

use super::{
    agent::RunningAgent,
    check::{Check, Group},
    finding::Finding,
};
use crate::{
    admin::wording::counted,
    config::{Config, Mode},
    dataplane::survey,
};

pub(super) static CAPABILITIES: Check = Check {
    name: "capabilities",
    group: Group::Host,
    looks_at: "The effective capabilities of the running agent; without one, of this command.",
    why: "Loading and attaching the XDP program takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, adverts take \
          CAP_NET_RAW, and ports below 1024 take CAP_NET_BIND_SERVICE.",
    fix: "Run lb under its systemd unit, which grants them, or as root.",
};

pub(super) static OPEN_FILES: Check = Check {
    name: "open_files",
    group: Group::Host,
    looks_at: "The limit of open files (RLIMIT_NOFILE) of the running agent; without one, of this command.",
    why: "Each connection that the agent proxies takes two descriptors, one to the client and one to the \
          backend. At the limit new connections wait.",
    fix: "`LimitNOFILE=1048576` in the unit (`systemctl edit lb`), then restart; in a shell `ulimit -n`.",
};

pub(super) static FORWARDING: Check = Check {
    name: "forwarding",
    group: Group::Host,
    looks_at: "The sysctl `net.ipv4.conf.IFACE.forwarding` of each interface, beside a running agent, \
               which sets it.",
    why: "The kernel answers route look-ups of the XDP program only on interfaces that forward; without it \
          packets of `tcp` services are dropped.",
    fix: "`sysctl -w net.ipv4.conf.IFACE.forwarding=1`, and correct what switched it off, such as a file of \
          `/etc/sysctl.d`.",
};

pub(super) static RESERVED_PORTS: Check = Check {
    name: "reserved_ports",
    group: Group::Host,
    looks_at: "The sysctl `net.ipv4.ip_local_reserved_ports`, beside a running agent, which adds NAT's \
               source ports to it.",
    why: "If the kernel gives such a port to a socket of this host too, the packets of two connections are mixed up.",
    fix: "Restore the list that the finding names, and correct what overwrote it.",
};

pub(super) static EPHEMERAL_PORTS: Check = Check {
    name: "service_ports",
    group: Group::Host,
    looks_at: "Whether a port of a service or of `[admin]` is in `net.ipv4.ip_local_port_range` and not in \
               `net.ipv4.ip_local_reserved_ports`.",
    why: "The kernel may give such a port to an outgoing connection, and the agent then cannot listen on it \
          when it starts.",
    fix: "`sysctl -w net.ipv4.ip_local_reserved_ports=…` with the port, or another port.",
};

pub(super) static CHECKS: [&Check; 5] = [
    &CAPABILITIES,
    &OPEN_FILES,
    &FORWARDING,
    &RESERVED_PORTS,
    &EPHEMERAL_PORTS,
];

/// Makes the checks about capabilities, limits and sysctls.
pub(super) fn check(config: &Config, agent: Option<&RunningAgent>) -> Vec<Finding> {
    let process = agent.map_or_else(|| "self".to_owned(), |agent| agent.pid.to_string());
    let read = |file: &str| fs::read_to_string(file).ok();
    let status = read(&format!("/proc/{process}/status")).unwrap_or_default();
    let limits = read(&format!("/proc/{process}/limits")).unwrap_or_default();
    let whose = Whose(agent.map(|agent| agent.pid));
    let needs = Needs::of(config);
    let reserved = Ports::parse(&read(RESERVED).unwrap_or_default());
    let local = Ports::of_range(&read(LOCAL_RANGE).unwrap_or_default());
    let mut findings = vec![
        capabilities(&whose, effective(&status), &needs),
        open_files(&whose, soft_limit(&limits), Proxied::of(config), has_unit()),
    ];
    if agent.is_some() && needs.steering {
        for name in config.node.interfaces.names() {
            let setting = read(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"));
            findings.push(forwarding(name, setting.as_deref()));
        }
        let wanted = survey::ports_for_nat(&config.dataplane.source_ports);
        findings.push(reserved_ports(&reserved, &wanted));
    }
    findings.push(service_ports(&listening_ports(config), &local, &reserved));
    findings
}

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Returns whether lb's systemd unit is installed.
fn has_unit() -> bool {
    let folders = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    folders
        .iter()
        .any(|folder| Path::new(folder).join("lb.service").exists())
}

/// The process whose capabilities and limits are examined: the agent with this process ID; `None`
/// for the process of `lb doctor` itself.
struct Whose(Option<i32>);

impl Whose {
    fn subject(&self) -> String {
        match self.0 {
            Some(pid) => format!("agent {pid}"),
            None => "this command".to_owned(),
        }
    }
}

/// The features in the configuration that need capabilities.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    steering: bool,
    low_ports: bool,
    adverts: bool,
}

impl Needs {
    fn of(config: &Config) -> Self {
        let steered = |mode: &Mode| matches!(mode, Mode::Tcp { .. });
        Self {
            steering: config.services.iter().any(|one| steered(&one.mode)),
            low_ports: config
                .services
                .iter()
                .any(|one| !steered(&one.mode) && one.listen.port() < 1024),
            adverts: config.ha.is_some(),
        }
    }
}

const NET_BIND_SERVICE: u32 = 10;
const NET_RAW: u32 = 13;

fn capabilities(whose: &Whose, effective: Option<u64>, needs: &Needs) -> Finding {
    let subject = whose.subject();
    let Some(effective) = effective else {
        return CAPABILITIES.skipped(subject, "the capabilities cannot be read");
    };
    let mut missing = survey::missing_privileges(effective);
    let has = |bit: u32| effective >> bit & 1 == 1;
    if needs.adverts && !has(NET_RAW) {
        missing.push("CAP_NET_RAW is missing (for the adverts of [ha])".to_owned());
    }
    if needs.low_ports && !has(NET_BIND_SERVICE) {
        missing.push("CAP_NET_BIND_SERVICE is missing (for ports below 1024)".to_owned());
    }
    if missing.is_empty() {
        return CAPABILITIES.ok(subject, "all required capabilities");
    }
    CAPABILITIES.fail(
        subject,
        missing.join(", "),
        "run lb under its systemd unit, which grants them (`systemctl cat lb`), or with sudo",
    )
}

/// Parses the effective capabilities of a process, as a bit mask, from the content of
/// /proc/PID/status.
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Parses the soft limit of open files from the content of /proc/PID/limits; `u64::MAX` for
/// `unlimited`.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Number of file descriptors that the agent needs for other things than proxied connections:
/// listeners, maps, timers, and idle connections to backends.
const OTHER_FILES: u64 = 1024;

/// How many connections the agent proxies at most, according to the configuration.
#[derive(Clone, Copy, Debug)]
enum Proxied {
    /// No connections: there is no service of mode `http` or `https`.
    None,
    /// As many connections as the limit of open files allows.
    AsManyAsFit,
    /// As many connections as `http.max_connections` says.
    AtMost(u64),
}

impl Proxied {
    fn of(config: &Config) -> Self {
        let is_proxied = |mode: &Mode| !matches!(mode, Mode::Tcp { .. });
        match config.http.max_connections {
            _ if !config.services.iter().any(|one| is_proxied(&one.mode)) => Self::None,
            None => Self::AsManyAsFit,
            Some(most) => Self::AtMost(most as u64),
        }
    }
}

fn open_files(whose: &Whose, limit: Option<u64>, proxied: Proxied, has_unit: bool) -> Finding {
    /// Number of connections that must fit into the limit of open files if `http.max_connections`
    /// is not set; fewer are too few for a public site.
    const FEW: u64 = 4096;
    let subject = whose.subject();
    let Some(limit) = limit else {
        return OPEN_FILES.skipped(subject, "the limit cannot be read");
    };
    let fit = limit.saturating_sub(OTHER_FILES) / 2;
    let room = format!("{limit}, enough for {}", counted(fit, "connection"));
    let (wanted, found) = match proxied {
        Proxied::None => {
            return OPEN_FILES.ok(subject, format!("{limit}; no connections are proxied"));
        }
        Proxied::AsManyAsFit => (FEW, room),
        Proxied::AtMost(most) => (most, format!("{room}; `http.max_connections` is {most}")),
    };
    if fit >= wanted {
        return OPEN_FILES.ok(subject, found);
    }
    if whose.0.is_none() && has_unit {
        let found = format!("{found}; the systemd unit sets a limit of its own");
        return OPEN_FILES.skipped(subject, found);
    }
    let unit =
        "`LimitNOFILE=1048576` in the unit (`systemctl edit lb`), then `systemctl restart lb`";
    match whose.0 {
        Some(_) => OPEN_FILES.fail(
            subject,
            found,
            format!("set {unit}; or lower `max_connections`"),
        ),
        None => OPEN_FILES.warn(
            subject,
            found,
            format!(
                "for an agent that is started from this shell, `ulimit -n {}`; else {unit}",
                wanted.saturating_mul(2).saturating_add(OTHER_FILES)
            ),
        ),
    }
}

fn forwarding(name: &str, setting: Option<&str>) -> Finding {
    match setting.map(str::trim) {
        Some("1") => FORWARDING.ok(name, "on"),
        Some(_) => FORWARDING.fail(
            name,
            "off, although the agent switched it on: the kernel answers no route look-up of the XDP program",
            format!(
                "`sysctl -w net.ipv4.conf.{name}.forwarding=1`, and correct what switched it off, such as a \
                 file of /etc/sysctl.d"
            ),
        ),
        None => FORWARDING.skipped(name, "the sysctl cannot be read"),
    }
}

/// A set of ports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Parses a list of ports and ranges of ports, such as `80,1024-2000`.
    fn parse(list: &str) -> Self {
        let ranges = list.trim().split(',').filter_map(|one| {
            let (first, last) = one.split_once('-').unwrap_or((one, one));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        });
        Self(ranges.collect())
    }

    /// Parses the first and the last port of a range, such as `32768\t60999`.
    fn of_range(text: &str) -> Self {
        let mut words = text.split_whitespace().map(str::parse);
        match (words.next(), words.next()) {
            (Some(Ok(first)), Some(Ok(last))) => Self(vec![first..=last]),
            _ => Self::default(),
        }
    }

    fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

/// How many of NAT's source ports may be missing from the reserved ports without a failure. The
/// agent reserves the ports that are free when it starts, so a port that a program used then, and
/// has left since, is missing. More ports than this are missing only if the list was overwritten.
const TOLERATED: usize = 256;

fn reserved_ports(reserved: &Ports, wanted: &[RangeInclusive<u16>]) -> Finding {
    let missing = wanted.iter().cloned().flatten();
    let missing = missing.filter(|port| !reserved.contains(*port)).count();
    if missing <= TOLERATED {
        return RESERVED_PORTS.ok("", "the source ports of NAT are reserved");
    }
    let written = |range: &RangeInclusive<u16>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    let list: Vec<String> = reserved.0.iter().chain(wanted).map(written).collect();
    RESERVED_PORTS.fail(
        "",
        format!("{missing} source ports of NAT are not reserved: sockets of this host may get them"),
        format!(
            "`sysctl -w net.ipv4.ip_local_reserved_ports={}`, and correct what overwrote the list, such as \
             a file of /etc/sysctl.d",
            list.join(",")
        ),
    )
}

/// Returns the TCP ports that the agent listens on according to the configuration; the ports of
/// services of mode `tcp` are not among them.
fn listening_ports(config: &Config) -> Vec<u16> {
    let proxied = config
        .services
        .iter()
        .filter_map(|service| match service.mode {
            Mode::Tcp { .. } => None,
            Mode::Http | Mode::Https { .. } => Some(service.listen.port()),
        });
    let link = config
        .ha
        .as_ref()
        .and_then(|ha| Some(ha.link.as_ref()?.port));
    proxied
        .chain([config.admin.listen.port()])
        .chain(link)
        .collect()
}

fn service_ports(listening: &[u16], local: &Ports, reserved: &Ports) -> Finding {
    let exposed = |port: &&u16| local.contains(**port) && !reserved.contains(**port);
    let exposed: Vec<String> = listening
        .iter()
        .filter(exposed)
        .map(u16::to_string)
        .collect();
    if exposed.is_empty() {
        return EPHEMERAL_PORTS.ok("", "none can be taken by an outgoing connection");
    }
    let list = exposed.join(",");
    EPHEMERAL_PORTS.warn(
        "",
        format!("an outgoing connection may take port {list} before the agent listens on it"),
        format!(
            "`sysctl -w net.ipv4.ip_local_reserved_ports={list}` (with the ports that are there already), \
             also in a file of /etc/sysctl.d"
        ),
    )
}

#[cfg(test)]
mod tests;
