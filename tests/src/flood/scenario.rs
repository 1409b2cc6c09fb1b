//! A flood against the service that the kernel steers, while established connections and legitimate
//! clients use it.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

use std::{collections::BTreeMap, net::SocketAddr, net::SocketAddrV4, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Flood, Network, Plan, Sent};
use crate::{
    Host, Lab,
    agent::{Agent, Settings},
    load::{self, Probe, Report},
    throng::{self, Throng},
    topology::{BALANCERS, ELASTIC_IP},
};

/// Network of the flood's senders: shared address space (RFC 6598), which the test network does not
/// use.
const SENDERS: Network = Network {
    base: std::net::Ipv4Addr::new(100, 64, 0, 0),
    prefix: 10,
};

/// Time-out of a legitimate client's connection: three retransmissions of its SYN, the last after 7
/// s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for which the legitimate traffic runs before the flood begins, and after it has ended.
const AROUND: Duration = Duration::from_secs(2);

/// Maximum number of packets in a flood: as many as ten cores could send in ten minutes.
const MOST: u64 = 6_000_000_000;

/// Parameters of the scenario: the flood, and the legitimate traffic.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of connections that are established before the flood begins.
    pub established: usize,
    /// Interval between the requests of each established connection.
    pub period: Duration,
    /// Number of connections per second that legitimate clients open, with one request each.
    pub honest: u32,
    /// Duration of the flood.
    pub lasts: Duration,
    /// Number of packets per second in the flood; `None` for as many as one core can send.
    pub rate: Option<u32>,
}

/// Results of the scenario: of the flood, and of the legitimate traffic.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was sent in the flood.
    pub flood: Sent,
    /// Results of the established connections.
    pub established: throng::Outcome,
    /// Results of the legitimate clients' requests.
    pub honest: Report,
    /// Number of packets that the balancer's interface received during the scenario.
    pub received: u64,
    /// Number of packets counted during the scenario, by verdict and reason.
    pub verdicts: BTreeMap<(String, String), u64>,
}

impl Scenario {
    /// Starts a test network with an agent, runs the scenario, and returns its results.
    ///
    /// # Errors
    /// When the test network does not come up, or the connections cannot be established before the
    /// flood. What is lost in the flood is in the outcome.
    pub fn play(&self) -> Result<Outcome> {
        let lab = Lab::raise()?;
        let igw = lab.internet_gateway.host();
        // No host answers at the senders' addresses; without this route the gateway would reply to
        // them.
        igw.script("ip route add blackhole 100.64.0.0/10")?;
        let settings = Settings {
            // The interval is long, so the interface is silent between two health checks.
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            ..Settings::of(&lab)
        };
        let agent = Agent::start(&lab, &settings)?.quiet();
        let before = Counted::of(&agent)?;
        let service = SocketAddr::from((ELASTIC_IP, 80));
        let throng = Throng::open(&lab.client, service, self.established, self.period)?;
        let plan = load::Plan {
            patience: PATIENCE,
            ..load::Plan::http()
        };
        let honest = Probe::steady(plan, Duration::from_secs(1) / self.honest, &lab.client);
        thread::sleep(AROUND);
        let flood = Flood::start(igw, self.flood(lab.lb_a())?).finish()?;
        thread::sleep(AROUND);
        let honest = honest.stop()?;
        let established = throng.stop()?;
        // Late packets, such as the web servers' retransmissions to the senders, would keep the
        // counters changing: cut the balancer off.
        lab.lb_a().cut()?;
        let after = Counted::of(&agent)?;
        Ok(Outcome {
            flood,
            established,
            honest,
            received: after.received - before.received,
            verdicts: after.since(&before),
        })
    }

    fn flood(&self, balancer: &Host) -> Result<Plan> {
        Ok(Plan {
            interface: balancer.name().to_owned(),
            destination_mac: mac(balancer)?,
            to: SocketAddrV4::new(BALANCERS[0].1, 80),
            sources: SENDERS,
            rate: self.rate,
            lasts: self.lasts,
            most: MOST,
        })
    }
}

impl Outcome {
    /// Returns the share of the legitimate clients' requests that was answered, 0 to 1.
    #[must_use]
    pub fn served(&self) -> f64 {
        let answered = self.honest.answers.len();
        answered as f64 / (answered + self.honest.failures.len()).max(1) as f64
    }

    /// Returns the absolute difference between the number of packets that the interface received
    /// and the number that the XDP program counted by their verdicts.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.received.abs_diff(self.verdicts.values().sum())
    }

    /// Returns the number of packets per second that the flood had.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.flood.frames as f64 / self.flood.lasted.as_secs_f64()
    }

    /// Checks that no established connection was lost, 99% of the legitimate clients were served,
    /// and every packet was counted.
    ///
    /// # Errors
    /// When one of these conditions is violated; the error explains it.
    pub fn is_as_promised(&self) -> Result<()> {
        let lost = &self.established.lost;
        ensure!(
            lost.is_empty(),
            "established connections were lost: {lost:?}"
        );
        ensure!(
            self.served() >= 0.99,
            "{:.2}% of the honest clients were served: {:?}",
            self.served() * 100.0,
            self.honest.why_failed()
        );
        ensure!(
            self.unexplained() == 0,
            "the interface received {} packets, the verdicts are {:?}",
            self.received,
            self.verdicts
        );
        Ok(())
    }
}

/// The number of packets that the interface received, and the numbers that the XDP program counted
/// by verdict, at one moment.
struct Counted {
    received: u64,
    verdicts: BTreeMap<(String, String), u64>,
}

impl Counted {
    /// Reads the counters at a moment when no packet arrives, so both numbers are of the same
    /// packets.
    fn of(agent: &Agent) -> Result<Self> {
        crate::wait::until("a moment without a packet", Duration::from_secs(30), || {
            let received = received(agent.host())?;
            let metrics = agent.metrics()?;
            let counted = metrics.samples("lb_xdp_packets_total", &[]);
            let verdicts = counted.iter().map(|sample| {
                let label = |name| sample.labels.get(name).cloned().unwrap_or_default();
                ((label("verdict"), label("reason")), sample.value as u64)
            });
            let counted = Self {
                received,
                verdicts: verdicts.collect(),
            };
            Ok((received == self::received(agent.host())?).then_some(counted))
        })
    }

    fn since(&self, before: &Self) -> BTreeMap<(String, String), u64> {
        let verdicts = self.verdicts.iter();
        let more = verdicts.map(|(verdict, count)| {
            let earlier = before.verdicts.get(verdict).copied().unwrap_or(0);
            (verdict.clone(), count - earlier)
        });
        more.filter(|(_, count)| *count > 0).collect()
    }
}

/// Returns the number of packets that a balancer's interface has received.
fn received(host: &Host) -> Result<u64> {
    let json = host.run("ip", &["-s", "-j", "link", "show", "eth0"])?;
    let links: Value = serde_json::from_str(&json)?;
    links[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .context("`ip -s link` shows no packets")
}

/// Returns the MAC address of a balancer's interface.
fn mac(host: &Host) -> Result<[u8; 6]> {
    let text = host.run("cat", &["/sys/class/net/eth0/address"])?;
    let octets = text
        .trim()
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16));
    let octets = octets.collect::<Result<Vec<_>, _>>()?;
    <[u8; 6]>::try_from(octets).map_err(|_| anyhow::anyhow!("{text:?} is no MAC address"))
}
