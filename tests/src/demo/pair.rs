//! The second half of the demo: lb-b joins, and the active host is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    agent::{Agent, Pair, Settings},
    ec2::{Ec2, Moto},
    load::{Load, Plan, Probe, Reuse},
    topology::BALANCERS,
};

use super::{
    Stage,
    paired::Paired,
    roles::Roles,
    screen::{Tone, grouped, milliseconds},
};

/// Time-out of each step of the demo's second half.
const LIMIT: Duration = Duration::from_secs(20);

/// Maximum time without service after the loss of a host that the demo accepts.
const WORST: Duration = Duration::from_secs(1);

/// Time for which the live table of the hosts' roles is shown before and after each change that the
/// demo makes.
const AROUND: Duration = Duration::from_secs(1);

pub(crate) fn lb_b_joins(stage: &mut Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline(
        "6. The pair: lb-b joins, and the EC2 API determines the owner of the Elastic IP",
    );
    screen.doing("starting the EC2 API");
    let began = Instant::now();
    let (ec2, whose) = cloud(stage)?;
    let follower = stage.lab.internet_gateway.follow_ec2(&ec2);
    follower.wait_for(BALANCERS[0].1, LIMIT)?;
    screen.done(whose, &milliseconds(began.elapsed()));

    // An agent learns of its peer only when it starts, so the agent that ran without a peer is
    // stopped first.
    let alone = stage.agent.take().context("the agent is not running")?;
    let status = alone.sigterm()?;
    ensure!(status.success(), "the agent ended with {status}");
    screen.doing("starting both agents");
    let began = Instant::now();
    let mut settings = Settings::elastic_pair(&stage.lab, &*ec2);
    if stage.monitor.is_some() {
        settings = settings.map(Settings::monitored);
    }
    let pair = Pair::start(&stage.lab, &settings)?.quiet();
    let took = milliseconds(began.elapsed());
    screen.done("two agents with their roles agreed", &took);
    let paired = Paired { pair, follower };
    for index in [0, 1] {
        screen.line(&who_is(paired.pair.agent(index)?)?);
    }
    stage.paired = Some(paired);
    Ok(())
}

pub(crate) fn active_host_dies(stage: &Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("7. lb-a is cut off under load: the host is lost, and returns");
    let paired = stage.paired()?;
    let host = stage.lab.lb_a();
    let probe = Probe::start(Plan::https(&stage.lab)?, &stage.lab.client);
    let mut roles = Roles::watch(screen, paired, vec![probe.load()]);
    roles.look_on(AROUND)?;

    let lost = Instant::now();
    host.cut()?;
    roles.remark("link of lb-a cut");
    let answered = roles.look_on_until(LIMIT, || Ok(probe.recovery(lost)))?;
    let answer = answered.context("service did not resume")?;
    let gap = answer.ended.duration_since(lost);
    roles.remark("lb-b answers");
    roles.look_on(AROUND)?;
    drop(roles);
    drop(probe.stop()?);
    screen.done("time without service", &milliseconds(gap));
    let compared = "(HAProxy with keepalived: `cargo xtask bench failover`)";
    screen.line(&screen.tinted(Tone::Dim, compared));
    ensure!(gap < WORST, "there was no service for {gap:?}");

    let loads = Loads::start(stage)?;
    let mut roles = Roles::watch(screen, paired, loads.0.iter().collect());
    roles.look_on(AROUND)?;
    host.restore()?;
    roles.remark("link restored");
    let back = || Ok(paired.follower.is_at(BALANCERS[0].1).then_some(()));
    roles
        .look_on_until(LIMIT, back)?
        .context("lb-a did not become active again")?;
    roles.remark("address handed over to lb-a");
    roles.look_on(AROUND * 2)?;
    drop(roles);
    loads.stop(stage)?;
    paired.pair.wait_until_agreed(0)
}

pub(crate) fn operator_hands_over(stage: &Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("8. lb failover to lb-b and back: requests end first, then the address moves");
    let paired = stage.paired()?;
    let loads = Loads::start(stage)?;
    let mut roles = Roles::watch(screen, paired, loads.0.iter().collect());
    roles.look_on(AROUND)?;
    let mut took = Vec::new();
    for from in [0, 1] {
        let began = Instant::now();
        paired.pair.agent(from)?.operate(&["failover"])?;
        took.push(milliseconds(began.elapsed()));
        paired.follower.wait_for(BALANCERS[1 - from].1, LIMIT)?;
        roles.remark(&format!("lb failover on {}", BALANCERS[from].0));
        roles.look_on(AROUND * 2)?;
    }
    drop(roles);
    screen.done("each hand-over took", &took.join(" and "));
    loads.stop(stage)?;
    paired.pair.wait_until_agreed(0)
}

/// Starts moto if it is installed, otherwise this package's fake EC2 API. Returns the API with the
/// name of the program.
fn cloud(stage: &Stage) -> Result<(Arc<dyn Ec2>, &'static str)> {
    if Moto::is_installed() {
        return Ok((stage.lab.moto()?, "moto simulates EC2"));
    }
    Ok((
        stage.lab.fake_ec2()?,
        "the lab's own EC2 API (moto is not installed)",
    ))
}

/// Returns a line with the status of an agent.
fn who_is(agent: &Agent) -> Result<String> {
    let ha = agent.status()?["ha"].clone();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    Ok(format!(
        "{:6} {:8} priority {:3}   Elastic IP: {:8} hears the peer as {}",
        agent.host().name(),
        word(&ha["role"]),
        ha["priority"],
        word(&ha["address"]["owner"]),
        word(&ha["peer"]["role"]),
    ))
}

/// HTTPS requests that the demo sends continuously: some each open a new connection, the others use
/// persistent connections.
struct Loads([Load; 2]);

impl Loads {
    fn start(stage: &Stage) -> Result<Self> {
        let load = |reuse| {
            let plan = Plan {
                connections: 4,
                reuse,
                pause: Duration::from_millis(36),
                patience: Duration::from_secs(10),
                ..Plan::https(&stage.lab)?
            };
            anyhow::Ok(plan.start(&stage.lab.client))
        };
        Ok(Self([load(Reuse::Never)?, load(Reuse::Always)?]))
    }

    /// Stops sending requests, checks that each was answered, and prints their number.
    fn stop(self, stage: &Stage) -> Result<()> {
        let (mut answered, mut longest) = (0, Duration::ZERO);
        for load in self.0 {
            let report = load.stop()?;
            report.all_answered()?;
            answered += report.answers.len();
            longest = longest.max(report.longest());
        }
        let screen = stage.screen;
        screen.done(
            "requests that failed",
            &format!("0 of {}", grouped(answered)),
        );
        screen.done("the longest wait for an answer", &milliseconds(longest));
        let why = "(new connections are held, and their clients retransmit after a second)";
        screen.line(&screen.tinted(Tone::Dim, why));
        Ok(())
    }
}
