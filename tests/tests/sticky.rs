//! Sticky sessions, with real nginx as the backends: they survive reloads until their backend is
//! removed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{APP_PORT, Agent, Metrics, Settings},
    topology::{CA_FILE, SITE},
};

const KEY_FILE: &str = "/run/lb/sticky.key";
const STICKY: &str = r#"sticky = { cookie = "lb", key_file = "/run/lb/sticky.key" }"#;
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a request with the cookies of this file, as a browser would, and returns the name of the
/// server that answered.
fn ask(lab: &Lab, version: &str, jar: &str) -> Result<String> {
    let url = format!("https://{SITE}:{APP_PORT}/app");
    let arguments = [
        "-sS", "--fail", version, "--cacert", CA_FILE, "-b", jar, "-c", jar, &url,
    ];
    let name = lab.client.run("curl", &arguments)?;
    Ok(name.trim_end().to_owned())
}

/// Sends several requests over both protocols with each of these cookie files, checks that one
/// server answers all requests of a file, and returns the name of that server for each file.
fn backends(lab: &Lab, jars: &[String]) -> Result<Vec<String>> {
    let backends = jars.iter().map(|jar| {
        let first = ask(lab, "--http1.1", jar)?;
        for version in ["--http2", "--http1.1", "--http2"] {
            let next = ask(lab, version, jar)?;
            ensure!(next == first, "{jar} went from {first} to {next}");
        }
        Ok(first)
    });
    backends.collect()
}

fn wait_for_app(agent: &Agent, backend: &str, up: f64) -> Result<()> {
    let labels = [("pool", "app"), ("backend", backend)];
    let is = |metrics: &Metrics| metrics.sum("lb_backend_up", &labels) == up;
    agent.wait_for_metrics(backend, LIMIT, is).map(drop)
}

#[test]
fn a_session_stays_over_reloads_and_moves_when_its_nginx_is_stopped() -> Result<()> {
    let mut lab = Lab::raise()?;
    lab.lb_a().write(KEY_FILE, "0123456789abcdef".repeat(4))?;
    lab.lb_a().run("chmod", &["600", KEY_FILE])?;
    let settings = Settings::of(&lab).with_app(STICKY);
    let agent = Agent::start(&lab, &settings)?;
    let jars: Vec<_> = (0..8).map(|jar| format!("/run/jar-{jar}")).collect();
    let before = backends(&lab, &jars)?;
    let mut used = before.clone();
    used.sort();
    used.dedup();
    ensure!(used.len() >= 3, "eight sessions began on {used:?} alone");

    // Each of these reloads changes the pool, and no session moves.
    for retries in [1, 2] {
        let lines = format!("{STICKY}\nretries = {retries}");
        agent.reconfigure(&Settings::of(&lab).with_app(&lines))?;
        ensure!(backends(&lab, &jars)? == before, "sessions moved");
    }

    // While a backend is drained, new sessions use other backends, and the sessions that it has
    // stay.
    let drained = before[0].clone();
    agent.operate(&["backend", "drain", &format!("app/{drained}")])?;
    ensure!(
        backends(&lab, &jars)? == before,
        "a drained backend lost a session"
    );
    let newcomer = ask(&lab, "--http2", "/run/jar-new")?;
    ensure!(newcomer != drained, "a new session on {drained}");
    agent.operate(&["backend", "ready", &format!("app/{drained}")])?;

    lab.web(&drained)?.stop()?;
    let moved = backends(&lab, &jars)?;
    for (was, is) in before.iter().zip(&moved) {
        ensure!(
            *is != drained && (was == is || *was == drained),
            "{was} -> {is}"
        );
    }
    wait_for_app(&agent, &drained, 0.0)?;
    ensure!(backends(&lab, &jars)? == moved, "a session moved twice");
    // When the stopped server returns, the sessions that moved stay on their new backends.
    lab.web(&drained)?.start()?;
    wait_for_app(&agent, &drained, 1.0)?;
    ensure!(backends(&lab, &jars)? == moved, "a session went back");
    let status = agent.status()?;
    let pools = status["pools"].as_array().context("pools")?;
    let sticky: Vec<_> = pools.iter().map(|pool| pool["sticky"].clone()).collect();
    ensure!(sticky.contains(&"lb".into()), "{sticky:?}");
    Ok(())
}
