//! All health checks of a pool fail, whether its servers work or not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Plan, Report},
    wait,
};

/// Time limit for health checks to fail or succeed, and for the agent to react to that.
const SOON: Duration = Duration::from_secs(10);

/// A range of statuses that the web servers never send, so that every health check fails.
const NEVER: &str = "299-299";

#[test]
fn servers_whose_checks_all_fail_are_tried_and_refused_only_where_the_pool_says_so() -> Result<()> {
    let lab = Lab::raise()?;
    let healthy = Settings::of(&lab);
    let failing = Settings {
        expect: NEVER,
        ..healthy.clone()
    };
    let refusing = Settings {
        when_all_down: "refuse",
        ..failing.clone()
    };
    let agent = Agent::start(&lab, &healthy)?;
    agent.reconfigure(&failing)?;
    all_down(&agent, true)?;
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let report = hundred(&lab, plan)?;
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    ensure!(said(&agent)? == "trying", "the status: {}", said(&agent)?);
    let log = agent.log();
    ensure!(
        log.contains("new_connections=\"tried on all of them\""),
        "{log}"
    );

    agent.operate(&["backend", "drain", "web2"])?;
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let report = hundred(&lab, plan)?;
        report.all_answered()?;
        ensure!(report.share("web2") == 0.0, "{:?}", report.shares());
    }
    agent.operate(&["backend", "ready", "web2"])?;

    agent.reconfigure(&refusing)?;
    let report = hundred(&lab, Plan::http())?;
    ensure!(report.answers.is_empty(), "{:?}", report.shares());
    let report = hundred(&lab, Plan::https(&lab)?)?;
    ensure!(report.answers.is_empty(), "{:?}", report.shares());
    ensure!(said(&agent)? == "refusing", "the status: {}", said(&agent)?);

    agent.reconfigure(&healthy)?;
    all_down(&agent, false)?;
    wait::until_true("answers on both paths", SOON, || {
        for plan in [Plan::http(), Plan::https(&lab)?] {
            if hundred(&lab, plan)?.all_answered().is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

#[test]
fn the_kernel_goes_on_trying_all_without_the_agent() -> Result<()> {
    let lab = Lab::raise()?;
    let healthy = Settings::of(&lab);
    let failing = Settings {
        expect: NEVER,
        ..healthy.clone()
    };
    let agent = Agent::start(&lab, &healthy)?;
    agent.reconfigure(&failing)?;
    all_down(&agent, true)?;
    // The agent updates the metric first, and shortly after it writes to the kernel the ring of
    // backends (the list from which the XDP program chooses) that are now used.
    wait::until_true("new connections on all backends", SOON, || {
        Ok(hundred(&lab, Plan::http())?.shares().len() == 4)
    })?;
    agent.quiet().sigkill()?;
    let report = hundred(&lab, Plan::http())?;
    report.all_answered()?;
    ensure!(report.shares().len() == 4, "{:?}", report.shares());
    Ok(())
}

/// Waits until the metric has the value `wanted` that says whether no backend of the pool is up.
fn all_down(agent: &Agent, wanted: bool) -> Result<()> {
    let value = f64::from(u8::from(wanted));
    let what = format!("lb_pool_all_down of {value}");
    agent.wait_for_metrics(&what, SOON, |metrics| {
        let samples = metrics.samples("lb_pool_all_down", &[("pool", "web")]);
        samples.len() == 1 && samples.iter().all(|sample| sample.value == value)
    })?;
    Ok(())
}

/// Returns how the pool handles new connections now, according to `lb status`.
fn said(agent: &Agent) -> Result<String> {
    let status = agent.status()?;
    let said = status["pools"][0]["all_down"].as_str();
    Ok(said.context("the status says nothing of it")?.to_owned())
}

fn hundred(lab: &Lab, plan: Plan) -> Result<Report> {
    let plan = Plan {
        requests: Some(100),
        ..plan
    };
    plan.run(&lab.client)
}
