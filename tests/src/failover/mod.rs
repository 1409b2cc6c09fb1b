//! Time without service after the loss of the active host, for three pairs in the same lab: HAProxy
//! and keepalived with usual settings, the same programs with their fastest settings, and `lb`.
//!
//! The lab is a set of network namespaces, one for each host.

mod ours;
mod peers;

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use lab::{Lab, ec2::FakeEc2, gateway::Follower, load::outage, topology::BALANCERS};
use serde_json::{Value, json};

/// Time-out of a failover, after which the measurement fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Time for which the second host stays active before the first host returns.
const SETTLING: Duration = Duration::from_millis(500);

/// The pairs of hosts whose failover is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Setup {
    /// Usual settings: HAProxy, and keepalived with adverts every second and a check of HAProxy
    /// every 5 s.
    Usual,
    /// HAProxy and keepalived with adverts every 100 ms and a check of HAProxy every second.
    Tuned,
    /// `lb` with adverts every 100 ms.
    Lb,
}

/// How the active host is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The balancer process on the active host is killed with SIGKILL.
    Process,
    /// The whole host is lost: its cables are cut.
    Host,
}

/// A pair of balancers, the first of which is active.
trait Balancers {
    /// Interval of the pair's health checks: a host may be lost at any time within it.
    fn rhythm(&self) -> Duration;

    /// Kills the active balancer's process.
    fn kill(&mut self) -> Result<()>;

    /// Restarts the process that [`Balancers::kill`] killed.
    fn restart(&mut self) -> Result<()>;

    /// Waits until the first host is active, and the second host is standby.
    fn wait_until_calm(&self) -> Result<()>;
}

/// A test network with a pair of balancers in it.
struct Stage {
    balancers: Box<dyn Balancers>,
    lab: Lab,
    follower: Follower,
    // The fake EC2 API is kept here because it serves only until this value is dropped.
    _ec2: Arc<FakeEc2>,
}

/// Measures each setup and prints the figures.
///
/// # Errors
/// When a setup does not start, or does not fail over in time.
pub(crate) fn run(rounds: u32, setups: &[Setup]) -> Result<()> {
    let mut figures = Vec::new();
    for setup in setups {
        let mut stage =
            Stage::raise(*setup).with_context(|| format!("{} did not start", setup.name()))?;
        for loss in [Loss::Process, Loss::Host] {
            figures.push(stage.measure(*setup, loss, rounds)?);
        }
    }
    println!("{:#}", Value::Array(figures));
    Ok(())
}

impl Setup {
    /// All setups of the benchmark, in the order in which they are measured.
    pub(crate) const ALL: [Self; 3] = [Self::Usual, Self::Tuned, Self::Lb];

    fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Tuned => "tuned",
            Self::Lb => "lb",
        }
    }
}

impl Loss {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Host => "host",
        }
    }
}

impl Stage {
    fn raise(setup: Setup) -> Result<Self> {
        eprintln!("{}: raising the lab", setup.name());
        let lab = Lab::raise()?;
        let ec2 = lab.fake_ec2()?;
        let follower = lab.internet_gateway.follow_ec2(&ec2);
        let balancers: Box<dyn Balancers> = match setup {
            Setup::Usual | Setup::Tuned => Box::new(peers::Peers::start(&lab, &ec2, setup)?),
            Setup::Lb => Box::new(ours::Ours::start(&lab, &ec2)?),
        };
        Ok(Self {
            balancers,
            lab,
            follower,
            _ec2: ec2,
        })
    }

    fn measure(&mut self, setup: Setup, loss: Loss, rounds: u32) -> Result<Value> {
        let mut gaps = Vec::new();
        for round in 0..rounds {
            // Losses are spread evenly over the interval of the health checks: the preceding
            // recovery is synchronous with it, so otherwise every loss would happen at the same
            // point of an interval.
            let moment = self.balancers.rhythm() * round / rounds;
            let what = format!("{}, {} lost", setup.name(), loss.name());
            let gap = (self.round(loss, moment))
                .with_context(|| format!("{what}, round {}", round + 1))?;
            eprintln!("{what}: round {} of {rounds}: {gap:?}", round + 1);
            gaps.push(gap.as_micros() as f64 / 1e3);
        }
        Ok(json!({ "setup": setup.name(), "lost": loss.name(), "milliseconds": gaps }))
    }

    /// Loses the active host in the given way; returns the time to the first response of the other
    /// host.
    fn round(&mut self, loss: Loss, moment: Duration) -> Result<Duration> {
        self.wait_until_calm()?;
        thread::sleep(moment);
        let Self { lab, balancers, .. } = self;
        let gap = outage(lab, LIMIT, || match loss {
            Loss::Process => balancers.kill(),
            Loss::Host => lab.lb_a().cut(),
        })?;
        self.follower.wait_for(BALANCERS[1].1, LIMIT)?;
        thread::sleep(SETTLING);
        self.restore(loss)?;
        Ok(gap.lasted)
    }

    fn restore(&mut self, loss: Loss) -> Result<()> {
        match loss {
            Loss::Process => self.balancers.restart(),
            Loss::Host => self.lab.lb_a().restore(),
        }
    }

    fn wait_until_calm(&self) -> Result<()> {
        self.balancers.wait_until_calm()?;
        self.follower.wait_for(BALANCERS[0].1, LIMIT)
    }
}
