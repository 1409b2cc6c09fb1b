//! A web server that recovers gets a growing share of requests.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Metrics, Settings},
    load::{Plan, Report},
    wait,
};

const LIMIT: Duration = Duration::from_secs(20);
const SLOW_START: Duration = Duration::from_secs(6);

fn wait_for_web2(agent: &Agent, up: f64) -> Result<()> {
    let labels = [("pool", "app"), ("backend", "web2")];
    let is = |metrics: &Metrics| metrics.sum("lb_backend_up", &labels) == up;
    agent.wait_for_metrics("web2", LIMIT, is).map(drop)
}

/// Returns web2's share of the requests that began between `first` and `last` times [`SLOW_START`]
/// after `from`.
fn share(report: &Report, from: Instant, [first, last]: [f64; 2]) -> f64 {
    let mut part = report.since(from + SLOW_START.mul_f64(first));
    let end = from + SLOW_START.mul_f64(last);
    part.answers.retain(|answer| answer.began < end);
    println!("{first} to {last}: {:?}", part.shares());
    part.share("web2")
}

#[test]
fn a_web_server_that_comes_back_gets_more_and_more() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab).with_app("slow_start = \"6s\""))?;
    let load = Plan::app(&lab)?.start(&lab.client);
    let began = Instant::now();
    wait::until_true("some requests", LIMIT, || Ok(load.done() > 200))?;
    lab.web("web2")?.stop()?;
    wait_for_web2(&agent, 0.0)?;
    let down = Instant::now();
    lab.web("web2")?.start()?;
    wait_for_web2(&agent, 1.0)?;
    let up = Instant::now();
    let limit = SLOW_START * 2;
    wait::until_true("the end of the slow start", limit, || {
        Ok(up.elapsed() > SLOW_START.mul_f64(1.3))
    })?;
    let report = load.stop()?;
    report.all_answered()?;
    let at_start = report.since(began);
    let at_start = at_start.answers.iter().filter(|answer| answer.began < down);
    ensure!(at_start.filter(|one| one.backend == "web2").count() > 30);
    // In these periods of time web2 has a tenth, a half and finally all of its weight, next to
    // three backends of the same weight.
    for (window, from, to) in [
        ([0.0, 0.1], 0.02, 0.07),
        ([0.45, 0.55], 0.12, 0.17),
        ([1.1, 1.3], 0.22, 0.28),
    ] {
        let share = share(&report, up, window);
        ensure!((from..to).contains(&share), "{share:.3} within {window:?}");
    }
    Ok(())
}
