//! A web server that passes its health check but answers requests with status 500 is ejected, gets
//! a trial request later, and returns to use.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Metrics, Settings},
    load::{Load, Plan},
    wait,
    web::BROKEN,
};

const LIMIT: Duration = Duration::from_secs(20);
const EJECTION: Duration = Duration::from_secs(2);
const RULES: &str = r#"outlier = { consecutive_failures = 3, ejection_time = "2s" }"#;

fn ejected(metrics: &Metrics) -> bool {
    metrics.sum(
        "lb_backend_ejected",
        &[("pool", "app"), ("backend", "web2")],
    ) == 1.0
}

fn ejections(metrics: &Metrics) -> f64 {
    metrics.sum("lb_backend_ejections_total", &[("service", "app")])
}

/// Returns the backend's state and whether it is ejected, according to `lb status`.
fn state(agent: &Agent) -> Result<(String, bool)> {
    let status = agent.status()?;
    let pools = status["pools"].as_array().context("pools")?;
    let app = pools.iter().find(|pool| pool["name"] == "app");
    let backends = app.and_then(|pool| pool["backends"].as_array());
    let backends = backends.context("the pool has backends")?;
    let web2 = backends.iter().find(|one| one["name"] == "web2");
    let web2 = web2.context("web2")?;
    let state = web2["state"].as_str().context("a state")?;
    Ok((state.to_owned(), !web2["ejected_until"].is_null()))
}

fn answers_of_web2(load: &Load, since: Instant) -> usize {
    let report = load.news(&mut lab::load::Seen::default()).since(since);
    report.shares().get("web2").copied().unwrap_or_default()
}

#[test]
fn a_web_server_that_answers_500_is_ejected_until_it_is_well() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab).with_app(RULES))?;
    let load = Plan::app(&lab)?.start(&lab.client);
    let began = Instant::now();
    wait::until_true("answers of web2", LIMIT, || {
        Ok(answers_of_web2(&load, began) > 10)
    })?;

    lab.web("web2")?.host().write(BROKEN, "")?;
    agent.wait_for_metrics("an ejection", LIMIT, |metrics| ejections(metrics) == 1.0)?;
    let first = Instant::now();
    ensure!(
        state(&agent)? == ("up".to_owned(), true),
        "{:?}",
        state(&agent)?
    );
    ensure!(agent.is_up("web2")?, "its check is another thing");
    // After the first ejection, a request was tried on the backend and failed, so the backend was
    // ejected again.
    agent.wait_for_metrics("a second ejection", LIMIT, |metrics| {
        ejections(metrics) == 2.0
    })?;
    let second = Instant::now();
    ensure!(second.duration_since(first) > EJECTION - Duration::from_millis(500));

    lab.web("web2")?.host().run("rm", &[BROKEN])?;
    agent.wait_for_metrics("the end of the ejection", LIMIT, |metrics| {
        !ejected(metrics)
    })?;
    let back = Instant::now();
    wait::until_true("answers of web2", LIMIT, || {
        Ok(answers_of_web2(&load, back) > 50)
    })?;
    ensure!(
        state(&agent)? == ("up".to_owned(), false),
        "{:?}",
        state(&agent)?
    );
    // The second ejection in a row lasts twice as long as the first.
    ensure!(back.duration_since(second) > EJECTION + Duration::from_millis(500));

    let report = load.stop()?;
    // Requests that began before the ejection was observed have ended this long after it.
    let moment = Duration::from_millis(200);
    let within = |from: Instant, to: Instant| {
        let failures = report.failures.iter();
        failures
            .filter(|one| one.began >= from && one.began < to)
            .count()
    };
    let (tries, again) = (within(began, first), within(first + moment, second));
    // Three consecutive failures cause the ejection; requests in flight at that moment fail too.
    ensure!(
        (3..=8).contains(&tries),
        "{tries} failed before the first ejection"
    );
    ensure!(
        (3..=8).contains(&again),
        "{again} failed before the second one"
    );
    let early = first + EJECTION - moment;
    ensure!(
        within(first + moment, early) == 0,
        "{:?}",
        report.why_failed()
    );
    ensure!(
        within(second + moment, Instant::now()) == 0,
        "{:?}",
        report.why_failed()
    );
    let failures = report.failures.iter();
    ensure!(
        failures.clone().all(|one| one.why.contains("500")),
        "{:?}",
        report.why_failed()
    );
    ensure!(report.share("web1") > 0.2, "{:?}", report.shares());
    let log = agent.log();
    ensure!(
        log.contains("backend ejected for failing requests"),
        "{log}"
    );
    ensure!(log.contains("ejection of backend ended"), "{log}");
    println!(
        "{} requests, {tries} and {again} got 500: {:?}",
        report.answers.len() + report.failures.len(),
        report.shares()
    );
    Ok(())
}
