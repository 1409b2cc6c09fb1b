//! The measured balancer on `lb-a`: `lb`, rules of nftables, or HAProxy.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use lab::{
    Host, Lab, Process,
    agent::{Agent, Settings},
    gateway::nft,
    topology::BALANCERS,
};
use serde_json::{Value, json};

use super::Setup;

/// Time-out for HAProxy to start listening.
const STARTING: Duration = Duration::from_secs(10);

const HAPROXY_FILE: &str = "/run/haproxy/haproxy.cfg";

/// The balancer that is measured on `lb-a`: it forwards connections to port 80 to the web servers.
pub(super) enum Balancer {
    Lb(Agent),
    Nftables(Host),
    Haproxy(Process),
}

/// Number of packets by verdict and reason, as the XDP program counts them.
pub(super) struct Verdicts(BTreeMap<(String, String), f64>);

impl Balancer {
    /// Starts the balancer of this setup on `lb-a`.
    ///
    /// # Errors
    /// When the balancer does not start.
    pub(super) fn start(lab: &Lab, setup: Setup) -> Result<Self> {
        match setup {
            Setup::Lb => start_lb(lab, "nat"),
            Setup::Dnat => {
                lab.route_answers_through(0)?;
                start_lb(lab, "dnat")
            }
            Setup::Nftables => start_nftables(lab),
            Setup::Haproxy => start_haproxy(lab),
        }
    }

    /// Returns user and system time of the balancer's process; `None` for nftables, which has no
    /// process.
    pub(super) fn cpu_time(&self) -> Result<Option<Duration>> {
        match self {
            Self::Lb(agent) => agent.cpu_time().map(Some),
            Self::Nftables(_) => Ok(None),
            Self::Haproxy(process) => process.cpu_time().map(Some),
        }
    }

    /// Returns the counters of the XDP program; `None` for a balancer other than `lb`.
    pub(super) fn verdicts(&self) -> Result<Option<Verdicts>> {
        match self {
            Self::Lb(agent) => Verdicts::of(agent).map(Some),
            Self::Nftables(_) | Self::Haproxy(_) => Ok(None),
        }
    }

    /// Returns the number of connections that the kernel tracks, and its limit; `None` for a
    /// balancer other than nftables.
    pub(super) fn conntrack(&self) -> Result<Option<Value>> {
        let Self::Nftables(host) = self else {
            return Ok(None);
        };
        let numbers = host.run(
            "sysctl",
            &[
                "-n",
                "net.netfilter.nf_conntrack_count",
                "net.netfilter.nf_conntrack_max",
            ],
        )?;
        let numbers: Vec<u64> = (numbers.split_whitespace().map(str::parse))
            .collect::<Result<_, _>>()
            .context("sysctl did not print two numbers")?;
        Ok(Some(
            json!({ "count": numbers.first(), "max": numbers.get(1) }),
        ))
    }
}

impl Verdicts {
    fn of(agent: &Agent) -> Result<Self> {
        let metrics = agent.metrics()?;
        let mut verdicts = BTreeMap::new();
        for sample in metrics.samples("lb_xdp_packets_total", &[]) {
            let label = |name| sample.labels.get(name).cloned().unwrap_or_default();
            *verdicts
                .entry((label("verdict"), label("reason")))
                .or_default() += sample.value;
        }
        Ok(Self(verdicts))
    }

    /// Returns how much each counter has grown since the reading `earlier`.
    pub(super) fn since(mut self, earlier: &Self) -> Self {
        for (key, packets) in &mut self.0 {
            *packets -= earlier.0.get(key).unwrap_or(&0.0);
        }
        self
    }

    pub(super) fn json(&self) -> Value {
        let verdict = |((verdict, reason), packets): (&(String, String), &f64)| json!({ "verdict": verdict, "reason": reason, "packets": *packets as u64 });
        self.0.iter().map(verdict).collect()
    }
}

/// Starts `lb` with the health checks that its documentation shows, and defaults otherwise.
fn start_lb(lab: &Lab, forward: &'static str) -> Result<Balancer> {
    let settings = Settings {
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        forward,
        ..Settings::of(lab)
    };
    Ok(Balancer::Lb(Agent::start(lab, &settings)?.quiet()))
}

/// Loads nftables rules that use the web servers in turn and replace the client's address by the
/// balancer's, so answers come back through the balancer. A network namespace has the machine's
/// limit on tracked connections, often 262,144, and cannot raise it: with the usual 120 s of
/// TIME-WAIT that allows 2,184 connections per second. So connections are tracked for only 15 s
/// after their end, which allows 17,000 a second.
fn start_nftables(lab: &Lab) -> Result<Balancer> {
    let host = lab.lb_a();
    let address = BALANCERS[0].1;
    let servers: Vec<_> = (lab.webs.iter().enumerate())
        .map(|(index, web)| format!("{index} : {}", web.address().ip()))
        .collect();
    let (count, servers) = (servers.len(), servers.join(", "));
    let rules = format!(
        "table ip balancer {{\n\
           chain inbound {{\n\
             type nat hook prerouting priority dstnat;\n\
             ip daddr {address} tcp dport 80 dnat to numgen inc mod {count} map {{ {servers} }}\n\
           }}\n\
           chain outbound {{\n\
             type nat hook postrouting priority srcnat;\n\
             ct status dnat masquerade\n\
           }}\n\
         }}\n"
    );
    // With ICMP redirects enabled, a host with one interface would tell the router and the gateway
    // to send packets directly to each other.
    host.script(
        "sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0\n\
         sysctl -qw net.ipv4.ip_forward=1",
    )?;
    nft(host, &rules)?;
    // This setting exists only after a rule that tracks connections has been loaded.
    host.script("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=15")?;
    Ok(Balancer::Nftables(host.clone()))
}

/// Starts HAProxy as one process with its default number of threads, which uses the web servers in
/// turn. The kernel gives it the range of ports that HAProxy's documentation recommends, and reuses
/// ports in TIME-WAIT.
fn start_haproxy(lab: &Lab) -> Result<Balancer> {
    let host = lab.lb_a();
    let servers: String = (lab.webs.iter())
        .map(|web| format!("  server {} {} check inter 2s\n", web.name(), web.address()))
        .collect();
    let configuration = format!(
        "defaults\n  mode tcp\n  \
         timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen web\n  bind *:80\n  balance roundrobin\n{servers}"
    );
    host.write(HAPROXY_FILE, configuration)?;
    host.script("sysctl -qw net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1")?;
    let haproxy = host.spawn("haproxy", "haproxy", &["-db", "-f", HAPROXY_FILE])?;
    host.wait_for_port(SocketAddr::from((BALANCERS[0].1, 80)), STARTING)
        .with_context(|| haproxy.log())?;
    Ok(Balancer::Haproxy(haproxy))
}
