//! HAProxy with a haproxy.cfg on one host, and the agent with the imported file on another.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab, Process,
    agent::{self, Agent, CONFIG_FILE},
};

use crate::{
    backend::Servers,
    client::{NAME, Over},
};

/// The address of the client on both hosts, which is also the one that it connects to where a
/// service listens on all addresses.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const HAPROXY_FILE: &str = "/etc/haproxy/haproxy.cfg";

/// The router's address on the network of the balancers.
const ROUTER: &str = "172.31.0.2";

const SOON: Duration = Duration::from_secs(20);

/// A haproxy.cfg that both programs are run with.
pub(crate) struct Case {
    pub(crate) config: &'static str,
    /// Texts that are replaced before the file is used: what needs another machine than one of the
    /// lab.
    pub(crate) adapted: &'static [(&'static str, &'static str)],
    /// Texts that are replaced in HAProxy's copy only, because HAProxy 2.6 has no such keyword: by
    /// the one that has the same effect.
    pub(crate) newer: &'static [(&'static str, &'static str)],
    /// Files of `errorfile` and of fixed answers, with their content for HAProxy.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

impl Case {
    /// Returns the case of a file that needs no change and no other files.
    pub(crate) fn of(config: &'static str) -> Self {
        Self {
            config,
            adapted: &[],
            newer: &[],
            files: &[],
        }
    }
}

/// Both programs, with the same servers behind them.
pub(crate) struct Site {
    pub(crate) report: String,
    /// The host of HAProxy.
    pub(crate) haproxy: Host,
    /// The host of the agent.
    pub(crate) lb: Host,
    pub(crate) servers: Servers,
    /// The addresses that clients connect to.
    pub(crate) listeners: Vec<(Over, SocketAddr)>,
    _process: Process,
    _agent: Agent,
    _lab: Lab,
}

impl Site {
    pub(crate) fn raise(case: &Case) -> Result<Self> {
        let mut lab = Lab::raise()?;
        let text = replaced(case.config, case.adapted);
        let servers = start_servers(&mut lab, &servers(&text))?;
        let (lb, haproxy) = (lab.lb_a().clone(), lab.lb_b().clone());
        let listeners = listeners(&text);
        for host in [&lb, &haproxy] {
            furnish(&lab, host, &listeners, case)?;
        }
        lb.write(HAPROXY_FILE, &text)?;
        haproxy.write(HAPROXY_FILE, replaced(&text, case.newer))?;
        haproxy.run("haproxy", &["-c", "-f", HAPROXY_FILE])?;
        let process = haproxy.spawn("haproxy", "haproxy", &["-db", "-f", HAPROXY_FILE])?;
        let report = import(&lb)?;
        let agent = Agent::start_again(&lb)?.quiet();
        for (_, address) in &listeners {
            haproxy
                .wait_for_port(*address, SOON)
                .with_context(|| process.log())?;
            lb.wait_for_port(*address, SOON)
                .with_context(|| agent.log())?;
        }
        Ok(Self {
            report,
            haproxy,
            lb,
            servers,
            listeners,
            _process: process,
            _agent: agent,
            _lab: lab,
        })
    }
}

fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    let replace = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "the file has no {from:?}");
        text.replace(from, to)
    };
    pairs.iter().fold(text.to_owned(), replace)
}

/// Starts the servers on a host of their own, in place of its nginx, and the routes to them.
fn start_servers(lab: &mut Lab, servers: &[(String, SocketAddr)]) -> Result<Servers> {
    lab.web("web1")?.kill()?;
    let web = lab.web("web1")?;
    let (host, gateway) = (web.host().clone(), web.address().ip());
    let addresses: BTreeSet<IpAddr> = servers.iter().map(|(_, address)| address.ip()).collect();
    for address in addresses {
        let to = format!("{address}/32");
        host.run("ip", &["address", "add", &to, "dev", "lo"])?;
        lab.router
            .run("ip", &["route", "add", &to, "via", &gateway.to_string()])?;
        for balancer in &lab.balancers {
            balancer.run("ip", &["route", "add", &to, "via", ROUTER])?;
        }
    }
    Servers::start(&host, servers)
}

/// Gives a host of a proxy the addresses and the files that haproxy.cfg names.
fn furnish(lab: &Lab, host: &Host, listeners: &[(Over, SocketAddr)], case: &Case) -> Result<()> {
    // The hosts of the lab share the machine's `/etc`, so each gets a copy of its own.
    host.script("cp -a /etc /run/etc\nmount --bind /run/etc /etc\nmkdir -p /run/haproxy /run/lb")?;
    let addresses: BTreeSet<IpAddr> = listeners.iter().map(|(_, address)| address.ip()).collect();
    for address in addresses {
        host.run(
            "ip",
            &["address", "add", &format!("{address}/32"), "dev", "lo"],
        )?;
    }
    for name in [NAME, "b.example.com"] {
        let pem = lab.authority.certify(name)?.pem();
        host.write(&format!("/etc/haproxy/certs/{name}.pem"), pem)?;
    }
    host.write("/etc/lb/sticky.key", "0123456789abcdef0123456789abcdef")?;
    for (file, content) in case.files {
        host.write(file, content)?;
        // The report says that lb wants the body alone, in a file whose name ends in .html.
        if let Some((_, body)) = content.split_once("\r\n\r\n") {
            host.write(&file.replace(".http", ".html"), body)?;
        }
    }
    Ok(())
}

/// Returns the servers of a haproxy.cfg, each with its section.
fn servers(text: &str) -> Vec<(String, SocketAddr)> {
    let mut section = "";
    let mut servers = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["backend" | "listen" | "frontend", name, ..] => section = name,
            ["server", _, address, ..] => {
                let address = address.parse().map(|address| (section.to_owned(), address));
                servers.extend(address.ok());
            }
            _ => {}
        }
    }
    servers
}

/// Returns the IPv4 addresses that a haproxy.cfg binds, with [`CLIENT`] for all addresses.
fn listeners(text: &str) -> Vec<(Over, SocketAddr)> {
    let mut all = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, more) = match *words {
            ["bind", address, ref more @ ..] => (address, more),
            ["listen", _, address, ref more @ ..] => (address, more),
            _ => continue,
        };
        let Some((ip, port)) = address
            .split(',')
            .next()
            .and_then(|first| first.rsplit_once(':'))
        else {
            continue;
        };
        let (ip, port) = (ip.parse().unwrap_or(CLIENT), port.parse().expect("a port"));
        let ip = if ip.is_unspecified() { CLIENT } else { ip };
        let overs: &[Over] = match more.contains(&"ssl") {
            true => &[Over::Https1, Over::Https2],
            false => &[Over::Http],
        };
        all.extend(
            overs
                .iter()
                .map(|over| (*over, SocketAddr::from((ip, port)))),
        );
    }
    all
}

/// Imports the file on a host, with the changes that the report asks for. Returns the report.
fn import(host: &Host) -> Result<String> {
    let lb = agent::binary()?;
    let arguments = ["import", "--haproxy", HAPROXY_FILE, "--output", CONFIG_FILE];
    let run = host.command(&lb).args(arguments).output()?;
    let report = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(
        run.status.success(),
        "lb import ended with {}: {report}",
        run.status
    );
    let written = host.read(CONFIG_FILE)?;
    host.write(CONFIG_FILE, written.replace(".http\"", ".html\""))?;
    let lb = lb.to_str().context("the path of lb is not UTF-8")?;
    host.run(lb, &["check", "--config", CONFIG_FILE])
        .with_context(|| written)?;
    Ok(report)
}
