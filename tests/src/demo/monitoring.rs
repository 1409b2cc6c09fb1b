//! Prometheus beside the demo's lab, which is the test network.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    forward,
    monitoring::{MONITOR, Monitor, PROMETHEUS, Pace},
    wait,
};

use super::{Stage, screen::milliseconds};

/// Time-out for Prometheus to have scraped every target.
const SCRAPING: Duration = Duration::from_secs(20);

/// Starts Prometheus and the node_exporters, and prints where Prometheus is.
///
/// # Errors
/// One of them is not installed or does not start.
pub(crate) fn begin(stage: &mut Stage) -> Result<()> {
    let screen = stage.screen;
    screen.doing("starting Prometheus");
    let began = Instant::now();
    let monitor = Monitor::raise(&stage.lab, Pace::DEMO)?;
    let took = milliseconds(began.elapsed());
    screen.done("Prometheus, six node_exporters", &took);
    // Listens on the machine's loopback, because the test network cannot be reached from outside.
    let address = forward::open(monitor.host(), PROMETHEUS)?;
    let ready = Command::new("curl")
        .args(["-sf", &format!("http://{address}/-/ready")])
        .output()?;
    ensure!(
        ready.status.success(),
        "Prometheus does not answer at http://{address}"
    );
    screen.line(&format!(
        "Prometheus: http://{address} on this machine, until the demo ends"
    ));
    screen.line(&format!(
        "in the lab it runs on the host monitor, {MONITOR}, as deploy/prometheus configures it"
    ));
    stage.monitor = Some(monitor);
    Ok(())
}

/// Checks that Prometheus scrapes both agents and all machines, and prints how many alerts fire.
/// Does nothing if there is no Prometheus.
///
/// # Errors
/// A target cannot be scraped, or a rule cannot be evaluated.
pub(crate) fn look(stage: &Stage) -> Result<()> {
    let Some(monitor) = &stage.monitor else {
        return Ok(());
    };
    let screen = stage.screen;
    screen.headline("10. What Prometheus sees");
    wait::until_true("every target scraped", SCRAPING, || {
        let up = monitor.query("sum(up)")?;
        Ok(up.iter().any(|sample| sample.value == 9.0))
    })?;
    screen.done("targets that answer", "9 of 9");
    let errors = monitor.rule_errors()?;
    ensure!(errors.is_empty(), "rules cannot be evaluated: {errors:?}");
    let firing = monitor.firing()?.into_iter().collect::<Vec<_>>();
    let firing = match firing.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    screen.done("alerts that fire", &firing);
    Ok(())
}
