//! Tests of the status that the agent reports (`lb status`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{ADMIN, Agent, Settings},
    load::Plan,
    topology::{CA_FILE, SITE},
    wait,
};

#[test]
fn status_names_the_mode_the_backends_and_their_traffic() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let plan = Plan {
        requests: Some(100),
        ..Plan::http()
    };
    plan.run(&lab.client)?.all_answered()?;

    let status = agent.status()?;
    ensure!(
        status["xdp"]["interfaces"][0]["mode"] == "native" && status["xdp"]["adopted"] == false,
        "{status:#}"
    );
    let backends = status["pools"][0]["backends"]
        .as_array()
        .context("the pool has no backends")?;
    ensure!(backends.len() == 4, "{status:#}");
    let mut connections = 0;
    for (backend, web) in backends.iter().zip(&lab.webs) {
        ensure!(
            backend["name"] == web.name()
                && backend["address"] == web.address().to_string()
                && backend["state"] == "up",
            "{backend:#}"
        );
        connections += backend["connections"].as_u64().unwrap_or_default();
    }
    ensure!(
        connections == 100,
        "100 connections were made, {connections} are told of"
    );
    let table = agent.operate(&["status"])?;
    for word in ["lb-a", "native", "web1", "web4", "10.0.0.19:80", SITE] {
        ensure!(table.contains(word), "`lb status` lacks {word}:\n{table}");
    }
    let health = lab.lb_a().run(
        "curl",
        &["-sS", "--fail", &format!("http://{ADMIN}/healthz")],
    )?;
    ensure!(!health.is_empty());
    Ok(())
}

#[test]
fn when_no_backend_is_left_https_clients_are_told_and_service_resumes() -> Result<()> {
    let mut lab = Lab::raise()?;
    let settings = Settings {
        when_all_down: "refuse",
        ..Settings::of(&lab)
    };
    let agent = Agent::start(&lab, &settings)?;
    for web in &mut lab.webs {
        web.kill()?;
    }
    for web in &lab.webs {
        agent.wait_for_backend(web.name(), false, Duration::from_secs(10))?;
    }
    let url = format!("https://{SITE}/");
    let code = "%{http_code}";
    let asking = [
        "-sS",
        "-m",
        "5",
        "-o",
        "/dev/null",
        "-w",
        code,
        "--cacert",
        CA_FILE,
        &url,
    ];
    let code = lab.client.run("curl", &asking)?;
    ensure!(code == "503", "without any backend the answer is {code}");

    for web in &mut lab.webs {
        web.start()?;
    }
    for web in &lab.webs {
        agent.wait_for_backend(web.name(), true, Duration::from_secs(10))?;
    }
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let plan = Plan {
            requests: Some(100),
            ..plan
        };
        // The agent publishes a backend's state before it has told the XDP program, in the kernel,
        // to choose the backends accordingly, so this may take a moment.
        let limit = Duration::from_secs(3);
        wait::until_true("answers from all four", limit, || {
            let report = plan.clone().run(&lab.client)?;
            report.all_answered()?;
            Ok(report.shares().len() == 4)
        })?;
    }
    Ok(())
}
