//! A flood against the steered service, beside connections that are established and clients that
//! are honest.

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

/// The senders of the flood: shared address space (RFC 6598), which nobody in the lab has.
const SENDERS: Network = Network {
    base: std::net::Ipv4Addr::new(100, 64, 0, 0),
    prefix: 10,
};

/// How long an honest client keeps trying: three retransmissions of its SYN, the last after 7 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long everybody is served before the flood begins, and after it has ended.
const AROUND: Duration = Duration::from_secs(2);

/// Packets of a flood in all, at most: what ten cores could send in ten minutes.
const MOST: u64 = 6_000_000_000;

/// How many of whom.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Connections that are established before the flood begins.
    pub established: usize,
    /// How often each of them asks: once a period.
    pub period: Duration,
    /// Connections that honest clients begin, one request each, a second.
    pub honest: u32,
    /// How long the flood lasts.
    pub lasts: Duration,
    /// Its packets a second; `None`: as many as one core can send.
    pub rate: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was sent in the flood.
    pub flood: Sent,
    /// What came of the established connections.
    pub established: throng::Outcome,
    /// What came of the honest clients' requests.
    pub honest: Report,
    /// Packets that the balancer's interface received from beginning to end.
    pub received: u64,
    /// The verdicts on them: verdict and reason.
    pub verdicts: BTreeMap<(String, String), u64>,
}

impl Scenario {
    /// Raises a lab with an agent of its own and plays the scenario in it.
    ///
    /// # Errors
    /// When the lab does not come up, or the connections cannot be established before the flood.
    /// What is lost in the flood is in the outcome.
    pub fn play(&self) -> Result<Outcome> {
        let lab = Lab::raise()?;
        let igw = lab.internet_gateway.host();
        // Where the senders are, nobody answers; without a route the gateway would answer for them.
        igw.script("ip route add blackhole 100.64.0.0/10")?;
        let settings = Settings {
            // Long, so that the interface falls silent between two checks.
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
        // What comes late, such as the web servers' retransmissions to the senders, ends here.
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
    /// The part of the honest clients' requests that was answered, 0 to 1.
    #[must_use]
    pub fn served(&self) -> f64 {
        let answered = self.honest.answers.len();
        answered as f64 / (answered + self.honest.failures.len()).max(1) as f64
    }

    /// Packets that the interface received and no verdict counts, or the other way round.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.received.abs_diff(self.verdicts.values().sum())
    }

    /// Packets of the flood a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.flood.frames as f64 / self.flood.lasted.as_secs_f64()
    }

    /// Wants no established connection lost, 99% of the honest clients served, and every packet
    /// counted.
    ///
    /// # Errors
    /// When one of them is not so: which, and why.
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

/// The counters at one moment.
struct Counted {
    received: u64,
    verdicts: BTreeMap<(String, String), u64>,
}

impl Counted {
    /// At a moment when no packet comes.
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

/// Packets that a balancer's interface has received.
fn received(host: &Host) -> Result<u64> {
    let json = host.run("ip", &["-s", "-j", "link", "show", "eth0"])?;
    let links: Value = serde_json::from_str(&json)?;
    links[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .context("`ip -s link` shows no packets")
}

/// The MAC address of a balancer's interface.
fn mac(host: &Host) -> Result<[u8; 6]> {
    let text = host.run("cat", &["/sys/class/net/eth0/address"])?;
    let octets = text
        .trim()
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16));
    let octets = octets.collect::<Result<Vec<_>, _>>()?;
    <[u8; 6]>::try_from(octets).map_err(|_| anyhow::anyhow!("{text:?} is no MAC address"))
}
