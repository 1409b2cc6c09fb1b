//! The failure of a backend breaks no new client connection: neither those to port 80, which the
//! kernel steers, nor the requests to port 443, which the agent forwards.
//!
//! Only connections that were established with the backend when it failed are lost, because they
//! cannot be moved. The tests count them, by the time at which the client's kernel had them
//! established, and limit their number. The agent retries requests that may be sent twice, so no
//! request to port 443 is lost.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Settings},
    load::{Plan, Probe, Report},
    web::Web,
};

/// Interval between new connections on each of the two paths (port 80 through the kernel, port 443
/// through the agent): 200 per second.
const INTERVAL: Duration = Duration::from_millis(5);

/// Time-out of a client's connection: three retransmissions of its SYN, after 1, 3 and 7 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time for which the load runs before and after the failure of a backend.
const AROUND: Duration = Duration::from_secs(2);

/// Maximum number of connections that are established with one backend at a time: a backend gets a
/// quarter of 200 per second, and each lasts about a millisecond, or some tens of them on a busy
/// machine.
const AT_ONCE: usize = 5;

/// Serialises the tests, as concurrent loads would distort the results. Hold the result during a
/// test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_killed_backend_costs_no_client_a_connection() -> Result<()> {
    costs_nothing(Web::kill)
}

#[test]
fn a_backend_whose_port_is_closed_costs_no_client_a_connection() -> Result<()> {
    costs_nothing(Web::stop)
}

#[test]
fn a_backend_whose_cable_is_cut_costs_no_client_a_connection() -> Result<()> {
    costs_nothing(|web| web.pull_cable())
}

fn costs_nothing(fail: impl FnOnce(&mut Web) -> Result<()>) -> Result<()> {
    let _alone = alone();
    let mut lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let agent = Agent::start(&lab, &settings)?;
    let plans = [Plan::http(), Plan::https(&lab)?].map(|plan| Plan {
        patience: PATIENCE,
        ..plan
    });
    let [http, https] = plans.map(|plan| Probe::steady(plan, INTERVAL, &lab.client));
    thread::sleep(AROUND);

    fail(lab.web("web2")?)?;
    let failed = Instant::now();
    thread::sleep(settings.detection() + AROUND);
    ensure!(!agent.is_up("web2")?, "web2 has failed, and is still up");
    let (http, https) = (http.stop()?, https.stop()?);
    let retried = agent
        .metrics()?
        .sum("lb_xdp_packets_total", &[("reason", "retried")]);
    for (port, report) in [(80, &http), (443, &https)] {
        println!(
            ":{port}: {} answered, the slowest after {:?}; {} failed, {} of them established before \
             the failure: {:?}",
            report.answers.len(),
            report.longest(),
            report.failures.len(),
            established_before(report, failed),
            report.why_failed(),
        );
    }
    println!("SYN segments that went to another backend: {retried:.0}");
    https.all_answered().context("of the requests to :443")?;
    let lost = established_before(&http, failed);
    ensure!(
        http.failures.len() == lost,
        "{} connections to :80 failed that no backend had begun: {:?}",
        http.failures.len() - lost,
        http.why_failed()
    );
    ensure!(
        lost <= AT_ONCE,
        "{lost} connections were established with web2 at once"
    );
    ensure!(retried > 0.0, "no SYN segment was counted as retried");
    Ok(())
}

/// Returns the number of failed connections that had been established before `moment`.
fn established_before(report: &Report, moment: Instant) -> usize {
    let established = report
        .failures
        .iter()
        .filter_map(|failure| failure.connected);
    established.filter(|connected| *connected <= moment).count()
}
