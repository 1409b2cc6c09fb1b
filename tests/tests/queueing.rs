//! A pool with a limit of concurrent requests per backend. Its backends are real nginx with a limit
//! too: above it, nginx refuses every request with status 429.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Body, Plan, Report, USER_AGENT},
    web::{LIMITED, SLOW_BYTES},
};

const LIMIT: Duration = Duration::from_secs(10);

/// Returns the parameters of a load of many concurrent requests that take about a second each, each
/// on a new connection.
fn plan(lab: &Lab, requests: u64) -> Result<Plan> {
    Ok(Plan {
        path: "/limited".to_owned(),
        body: Body::Filled(b'y', SLOW_BYTES),
        connections: 24,
        pause: Duration::ZERO,
        patience: Duration::from_secs(20),
        requests: Some(requests),
        ..Plan::app(lab)?
    })
}

/// Returns the number of requests that the web servers answered with this status, by their logs.
fn answered(lab: &Lab, status: &str) -> Result<usize> {
    let mut count = 0;
    for web in &lab.webs {
        let lines = web.requests_of(USER_AGENT)?;
        let with = |line: &&String| line.contains(&format!("\" {status} agent="));
        count += lines.iter().filter(with).count();
    }
    Ok(count)
}

fn says_503(report: &Report) -> bool {
    let mut failures = report.failures.iter();
    failures.all(|failure| failure.why.contains("503"))
}

#[test]
fn a_backend_never_has_more_than_its_limit_and_the_others_wait() -> Result<()> {
    let lab = Lab::raise()?;
    // The first agent gets a limit above that of nginx: this shows that the test would detect one
    // request too many.
    let lines = |limit: usize| format!("max_connections = {limit}");
    let agent = Agent::start(&lab, &Settings::of(&lab).with_app(&lines(LIMITED + 1)))?;
    let too_many = plan(&lab, 24)?.run(&lab.client)?;
    ensure!(
        !too_many.failures.is_empty() && answered(&lab, "429")? > 0,
        "none was one too many"
    );
    let before = answered(&lab, "429")?;

    agent.reconfigure(&Settings::of(&lab).with_app(&lines(LIMITED)))?;
    let load = plan(&lab, 48)?.start(&lab.client);
    agent.wait_for_metrics("requests that wait", LIMIT, |metrics| {
        metrics.sum("lb_http_queued_requests", &[("service", "app")]) > 0.0
    })?;
    let status = agent.operate(&["status"])?;
    ensure!(
        status.contains(" queued, at most 1,024") && status.contains(&format!(" of {LIMITED} ")),
        "{status}"
    );
    let report = load.finish()?;
    report.all_answered()?;
    ensure!(
        report.answers.len() == 48 && report.shares().len() == 4,
        "{:?}",
        report.shares()
    );
    ensure!(answered(&lab, "429")? == before, "nginx had one too many");
    let metrics = agent.metrics()?;
    let waited = metrics.sum("lb_http_queue_waits_total", &[("service", "app")]);
    ensure!(waited >= 24.0, "{waited} waited");
    ensure!(metrics.sum("lb_http_queued_requests", &[]) == 0.0);
    println!(
        "48 requests in {:?} at most, {waited} waited",
        report.longest()
    );
    Ok(())
}

#[test]
fn one_that_finds_the_queue_full_gets_503_and_none_fails_otherwise() -> Result<()> {
    let lab = Lab::raise()?;
    let lines = format!("max_connections = {LIMITED}\nqueue = {{ size = 4 }}");
    let agent = Agent::start(&lab, &Settings::of(&lab).with_app(&lines))?;
    let report = plan(&lab, 24)?.run(&lab.client)?;
    // The backends serve eight requests at a time, and four wait in the queue.
    ensure!(
        report.answers.len() >= 12,
        "{} answered",
        report.answers.len()
    );
    ensure!(
        !report.failures.is_empty() && says_503(&report),
        "{:?}",
        report.why_failed()
    );
    ensure!(answered(&lab, "429")? == 0, "nginx had one too many");
    let rejected = agent.metrics()?.sum("lb_http_queue_rejections_total", &[]);
    ensure!(
        rejected == report.failures.len() as f64,
        "{rejected} rejected"
    );
    let errors = agent.operate(&["errors"])?;
    ensure!(errors.contains("lb_queue_full"), "{errors}");
    Ok(())
}
