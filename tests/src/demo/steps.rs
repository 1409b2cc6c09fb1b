//! The steps of the demo. Each verifies what it shows, and fails otherwise.

use std::{
    ops::RangeInclusive,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Plan, Report, Reuse},
    topology::{ELASTIC_IP, SITE, WEBS},
    web::Web,
};

use super::{
    Stage,
    screen::{Screen, grouped, milliseconds},
    watch::{Outcome, Watch},
};

/// Number of requests in a step of the demo that counts how many of them each backend gets.
const REQUESTS: usize = 2000;

/// Tolerance of a backend's share of the requests, in percentage points.
const TOLERANCE: f64 = 2.0;

/// Time-out for a change of a backend's state: generous, because the demo prints the time that it
/// took.
const NOTICING: Duration = Duration::from_secs(10);

pub(crate) fn raise(screen: Screen, monitoring: bool) -> Result<Stage> {
    screen.headline("The lab");
    if cfg!(debug_assertions) {
        screen
            .line("debug build: its figures are several times worse than those of a release build");
    }
    screen.doing("creating hosts");
    let began = Instant::now();
    let lab = Lab::raise()?;
    screen.done("hosts and links created", &milliseconds(began.elapsed()));
    for host in lab.hosts() {
        let addresses = host.run("ip", &["-4", "-br", "address", "show", "scope", "global"])?;
        let addresses: Vec<&str> = addresses
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2))
            .collect();
        screen.line(&format!("{:8} {}", host.name(), addresses.join(", ")));
    }
    screen.doing("starting the agent");
    let began = Instant::now();
    let mut settings = Settings::of(&lab);
    if monitoring {
        settings = settings.monitored();
    }
    let agent = Agent::start(&lab, &settings)?.quiet();
    let took = milliseconds(began.elapsed());
    screen.done("agent on lb-a, all backends up", &took);
    Ok(Stage {
        screen,
        lab,
        settings,
        agent: Some(agent),
        paired: None,
        monitor: None,
    })
}

pub(crate) fn http(stage: &Stage) -> Result<()> {
    stage.screen.headline(&format!(
        "1. http://{ELASTIC_IP}: a new connection for each request, steered by XDP in the kernel"
    ));
    dealt_evenly(stage, Plan::http())
}

pub(crate) fn https(stage: &Stage) -> Result<()> {
    stage.screen.headline(&format!(
        "2. https://{SITE}: the agent terminates TLS and forwards the requests"
    ));
    dealt_evenly(stage, Plan::https(&stage.lab)?)?;
    let url = format!("https://{SITE}/headers");
    let page = stage.lab.client.run(
        "curl",
        &["-sS", "--fail", "--cacert", lab::topology::CA_FILE, &url],
    )?;
    let screen = stage.screen;
    screen.done(
        "headers that a web server receives",
        "curl https://…/headers",
    );
    page.lines().for_each(|line| screen.line(line));
    Ok(())
}

pub(crate) fn backend_fails(stage: &mut Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("3. web2 fails under load: killed, its port closed, its link cut");
    let agent = stage.agent.as_ref().context("the agent is not running")?;
    let mut watch = Watch::start(screen, &stage.lab, agent)?;
    let (mut failed, mut noticed, mut back) = (Vec::new(), Vec::new(), Instant::now());
    for (what, fail, fixed, fix) in WAYS_TO_FAIL {
        watch.look_on(Duration::from_secs(1));
        let web2 = stage.lab.web("web2")?;
        let began = Instant::now();
        fail(web2)?;
        failed.push(began..=Instant::now());
        watch.remark(what);
        watch.look_on_until(NOTICING, || Ok(!agent.is_up("web2")?))?;
        noticed.push(
            failed
                .last()
                .map_or(Duration::ZERO, |moment| moment.end().elapsed()),
        );
        watch.remark("web2 is down");
        // Clients whose SYN went to the failed web server retransmit it after a second.
        watch.look_on(Duration::from_millis(1500));
        fix(web2)?;
        watch.remark(fixed);
        watch.look_on_until(NOTICING, || agent.is_up("web2"))?;
        watch.remark("web2 is up again");
        back = Instant::now();
    }
    watch.look_on(Duration::from_millis(1500));

    let outcome = watch.stop()?;
    let took: Vec<_> = noticed.iter().map(|took| milliseconds(*took)).collect();
    screen.done("web2 was down after", &took.join(", "));
    let limit = stage.settings.detection() + Duration::from_millis(600);
    ensure!(
        noticed.iter().all(|took| *took <= limit),
        "a failed backend was up for {noticed:?}, but the limit is {limit:?}"
    );
    costs_nothing(screen, &outcome, &failed)?;
    has_its_share(&outcome.http.since(back), "web2")?;
    screen.done("web2 has its share again", "");
    Ok(())
}

/// A way in which a web server fails and is repaired: for each, the remark that the demo prints,
/// and the function that does it.
type WayToFail = (
    &'static str,
    fn(&mut Web) -> Result<()>,
    &'static str,
    fn(&mut Web) -> Result<()>,
);

const WAYS_TO_FAIL: [WayToFail; 3] = [
    ("web2 killed", Web::kill, "web2 started", Web::start),
    (
        "web2 stopped: its port is closed",
        Web::stop,
        "web2 started",
        Web::start,
    ),
    (
        "web2's cable is cut",
        |web| web.pull_cable(),
        "web2's cable is back",
        |web| web.plug_cable(),
    ),
];

/// Checks that no request failed when a web server did, except requests in progress: an established
/// connection cannot be moved without ending it. `failed` has the time of each failure of a web
/// server, from the command that caused it until it was complete.
fn costs_nothing(
    screen: Screen,
    outcome: &Outcome,
    failed: &[RangeInclusive<Instant>],
) -> Result<()> {
    (outcome.https.all_answered()).context("of the HTTPS requests")?;
    let (cut, lost): (Vec<_>, Vec<_>) = outcome.http.failures.iter().partition(|failure| {
        let was_open = |moment: &RangeInclusive<Instant>| {
            let connected_before = failure.connected.is_some_and(|at| at <= *moment.end());
            connected_before && failure.ended >= *moment.start()
        };
        failed.iter().any(was_open)
    });
    ensure!(
        lost.is_empty(),
        "{} of {} connections through the kernel failed: {:?}",
        lost.len(),
        outcome.http.answers.len() + lost.len(),
        outcome.http.why_failed()
    );
    screen.done("http: requests that failed", &none_of(&outcome.http));
    if !cut.is_empty() {
        screen.line(&format!(
            "not counting {} on connections that web2 had accepted before it failed",
            cut.len()
        ));
    }
    screen.done(
        "http: retried on another web server",
        &grouped(outcome.retried as usize),
    );
    screen.done(
        "http: the longest wait",
        &milliseconds(outcome.http.longest()),
    );
    screen.done("https: requests that failed", &none_of(&outcome.https));
    screen.done(
        "https: the longest wait",
        &milliseconds(outcome.https.longest()),
    );
    Ok(())
}

pub(crate) fn backend_is_drained(stage: &Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("4. lb backend drain web2: existing connections continue, no new ones arrive");
    let mut watch = Watch::start(screen, &stage.lab, stage.agent()?)?;
    watch.look_on(Duration::from_secs(1));
    stage.agent()?.operate(&["backend", "drain", "web2"])?;
    let drained = Instant::now();
    watch.remark("drained");
    watch.look_on(Duration::from_millis(1500));
    let ready = Instant::now();
    stage.agent()?.operate(&["backend", "ready", "web2"])?;
    watch.remark("ready");
    watch.look_on(Duration::from_millis(1500));
    let outcome = watch.stop()?;
    for report in [&outcome.http, &outcome.https] {
        report.all_answered()?;
        let new = (report.answers.iter())
            .filter(|answer| answer.backend == "web2")
            .filter(|answer| (drained..ready).contains(&answer.began))
            .count();
        ensure!(new == 0, "web2 got {new} new requests while it was drained");
        has_its_share(&report.since(ready + Duration::from_millis(100)), "web2")?;
    }
    screen.done("http: requests that failed", &none_of(&outcome.http));
    screen.done("https: requests that failed", &none_of(&outcome.https));
    Ok(())
}

pub(crate) fn agent_is_killed(stage: &mut Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("5. The agent is killed with SIGKILL: the kernel continues to forward");
    let plan = Plan {
        reuse: Reuse::Always,
        pause: Duration::from_millis(2),
        ..Plan::http()
    };
    let load = plan.start(&stage.lab.client);
    let watched = |what: &str, for_: Duration| {
        let deadline = Instant::now() + for_;
        while Instant::now() < deadline {
            let requests = grouped(load.done());
            screen.doing(&format!("{what}: {requests} requests on 8 connections"));
            thread::sleep(Duration::from_millis(50));
        }
    };
    watched("with the agent", Duration::from_secs(2));
    let before = kernels_count(stage.agent()?)?;
    let agent = stage.agent.take().context("the agent is not running")?;
    agent.sigkill()?;
    let at_death = load.done();
    watched("without any agent", Duration::from_secs(2));
    let without = load.done() - at_death;
    let began = Instant::now();
    let agent = Agent::start_again(stage.lab.lb_a())?.quiet();
    let took = began.elapsed();
    let after = kernels_count(&agent)?;
    stage.agent = Some(agent);
    watched("with the next agent", Duration::from_secs(1));
    let report = load.stop()?;

    report.all_answered()?;
    ensure!(
        report.connections == 8,
        "{} connections were opened, but 8 should have sufficed",
        report.connections
    );
    ensure!(without > 0, "nothing was answered without the agent");
    ensure!(after > before, "the kernel's counters were reset");
    screen.done("answered without any agent", &grouped(without));
    screen.done("requests that failed", &none_of(&report));
    screen.done("broken connections", "0 of 8");
    screen.done("adopted by the next agent after", &milliseconds(took));
    screen.done(
        "packets counted before and after",
        &format!(
            "{} and {}",
            grouped(before as usize),
            grouped(after as usize)
        ),
    );
    Ok(())
}

pub(crate) fn status(stage: &Stage) -> Result<()> {
    let screen = stage.screen;
    screen.headline("9. What the operator sees: lb status");
    let status = stage.agent()?.operate(&["status"])?;
    status.lines().for_each(|line| screen.line(line));
    Ok(())
}

fn dealt_evenly(stage: &Stage, plan: Plan) -> Result<()> {
    let screen = stage.screen;
    let plan = Plan {
        requests: Some(REQUESTS as u64),
        ..plan
    };
    let what = format!("{} requests", grouped(REQUESTS));
    let began = Instant::now();
    let load = plan.start(&stage.lab.client);
    // Stop the load at its first failed request: each further request may take as long to fail as
    // this one did.
    while load.done() < REQUESTS && load.failed() == 0 {
        screen.progress(&what, load.done(), REQUESTS);
        thread::sleep(Duration::from_millis(50));
    }
    let report = load.stop()?;
    report.all_answered()?;
    let rate = REQUESTS as f64 / began.elapsed().as_secs_f64();
    let rate = format!("all answered, {} per second", grouped(rate as usize));
    screen.done(&what, &rate);
    for (name, _) in WEBS {
        let shares = report.shares();
        screen.share(name, *shares.get(name).unwrap_or(&0), report.answers.len());
    }
    WEBS.iter()
        .try_for_each(|(name, _)| has_its_share(&report, name))
}

fn has_its_share(report: &Report, backend: &str) -> Result<()> {
    let share = report.share(backend) * 100.0;
    let due = 100.0 / WEBS.len() as f64;
    ensure!(
        (share - due).abs() <= TOLERANCE,
        "{backend} got {share:.1}% of the requests instead of {due:.0}%: {:?}",
        report.shares()
    );
    Ok(())
}

fn none_of(report: &Report) -> String {
    format!("0 of {}", grouped(report.answers.len()))
}

fn kernels_count(agent: &Agent) -> Result<u64> {
    Ok(agent.metrics()?.sum("lb_xdp_packets_total", &[]) as u64)
}
