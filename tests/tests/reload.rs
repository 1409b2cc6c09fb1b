//! The configuration is reloaded under traffic.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CERTIFICATE_FILE, CONFIG_FILE, Settings},
    load::{Body, Load, Plan, Reuse, answers_come_from},
    topology::SITE,
    wait,
    web::SLOW_BYTES,
};

#[test]
fn adding_and_removing_a_backend_loses_nothing() -> Result<()> {
    let lab = Lab::raise()?;
    let all = Settings::of(&lab);
    let agent = Agent::start(&lab, &all.clone().only(&["web1", "web2", "web3"]))?;
    let loads = loads(&lab)?;
    let slow = Plan {
        path: "/slow".to_owned(),
        body: Body::Filled(b'y', SLOW_BYTES),
        requests: Some(6),
        connections: 6,
        ..Plan::http()
    };
    let slow = slow.start(&lab.client);
    thread::sleep(Duration::from_secs(1));

    agent.reconfigure(&all)?;
    agent.wait_for_backend("web4", true, Duration::from_secs(10))?;
    answers_come_from(&lab, &["web1", "web2", "web3", "web4"])?;

    agent.reconfigure(&all.only(&["web2", "web3", "web4"]))?;
    answers_come_from(&lab, &["web2", "web3", "web4"])?;

    let slow = slow.finish()?;
    slow.all_answered().context("of the slow downloads")?;
    ensure!(
        slow.share("web1") > 0.0,
        "no download came from the backend that was removed: {:?}",
        slow.shares()
    );
    for load in loads {
        let report = load.stop()?;
        report.all_answered()?;
        ensure!(report.shares().len() == 4, "{:?}", report.shares());
    }
    Ok(())
}

#[test]
fn a_refused_reload_leaves_the_old_configuration_in_force() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let agent = Agent::start(&lab, &settings)?;
    let broken = settings.toml().replace("round_robin", "round_robbing");
    lab.lb_a().write(CONFIG_FILE, broken)?;
    let error = agent
        .operate(&["reload"])
        .err()
        .context("a broken configuration was taken over")?
        .to_string();
    ensure!(
        error.contains("round_robbing") && error.contains("round_robin"),
        "the refusal does not say what is wrong and what is allowed: {error}"
    );
    answers_come_from(&lab, &["web1", "web2", "web3", "web4"])?;

    lab.lb_a().write(CONFIG_FILE, settings.toml())?;
    agent.operate(&["reload"])?;
    answers_come_from(&lab, &["web1", "web2", "web3", "web4"])
}

/// Starts loads: new connections that the kernel forwards, and new and persistent HTTPS connections
/// that the agent serves.
fn loads(lab: &Lab) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    for reuse in [Reuse::Never, Reuse::Always] {
        for plan in [Plan::http(), Plan::https(lab)?] {
            let plan = Plan {
                reuse,
                connections: 4,
                pause: Duration::from_millis(4),
                ..plan
            };
            // Persistent connections that the kernel forwards are left out: each of them stays with
            // its first backend.
            if plan.tls.is_some() || reuse == Reuse::Never {
                loads.push(plan.start(&lab.client));
            }
        }
    }
    Ok(loads)
}

/// Certificate files are overwritten, atomically or slowly, and one renewal fails: clients always
/// get a certificate that they trust.
#[test]
fn certificates_are_replaced_under_load_and_no_request_fails() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(10);
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let loads = loads(&lab)?;
    let host = lab.lb_a();
    let seen = |agent: &Agent, text: &str| agent.log().matches(text).count();
    for round in 1..=5 {
        let pem = lab.authority.certify(SITE)?.pem();
        let (half, _) = pem.split_at(pem.len() / 2);
        host.write(CERTIFICATE_FILE, half)?;
        thread::sleep(PAUSE);
        host.write(CERTIFICATE_FILE, &pem)?;
        wait::until_true("the new certificate is read", PATIENCE, || {
            Ok(seen(&agent, "TLS files changed") >= round)
        })?;
    }
    host.write(CERTIFICATE_FILE, "-----BEGIN CERTIFICATE-----\n")?;
    wait::until_true("the bad file is reported", PATIENCE, || {
        Ok(seen(&agent, "its previous content stays in use") >= 1)
    })?;
    answers_come_from(&lab, &["web1", "web2", "web3", "web4"])?;
    for load in loads {
        load.stop()?.all_answered()?;
    }
    Ok(())
}
