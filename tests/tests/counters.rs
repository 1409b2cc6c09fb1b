//! The counters of packets and connections are exact, and the usual tools can read them.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{Agent, PINS, Settings},
    load::Plan,
    wait,
};
use serde_json::Value;

#[test]
fn every_received_packet_is_in_exactly_one_verdict_counter() -> Result<()> {
    let lab = Lab::raise()?;
    let settings = Settings {
        // The interval of health checks is long, so no packets are sent between two of them.
        interval: Duration::from_secs(2),
        ..Settings::of(&lab)
    };
    let agent = Agent::start(&lab, &settings)?;
    let before = in_silence(&agent)?;

    for plan in [Plan::http(), Plan::https(&lab)?] {
        let plan = Plan {
            requests: Some(500),
            ..plan
        };
        plan.run(&lab.client)?.all_answered()?;
    }
    // Send packets that belong to no service, or are not valid.
    lab.client
        .run("ping", &["-c", "20", "-i", "0.01", "203.0.113.74"])?;
    lab.client.script(
        "curl -s -m 1 http://203.0.113.74:81/ || true\n\
         curl -s -m 1 http://203.0.113.74:9145/ || true",
    )?;

    let after = in_silence(&agent)?;
    let (received, counted) = (after.0 - before.0, after.1 - before.1);
    ensure!(received > 5000, "only {received} packets came");
    ensure!(
        received == counted,
        "the interface received {received} packets, the verdicts say {counted}"
    );
    Ok(())
}

#[test]
fn services_and_backends_are_counted_by_connections_packets_and_requests() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let plan = Plan {
            requests: Some(200),
            ..plan
        };
        plan.run(&lab.client)?.all_answered()?;
    }
    let metrics = agent.metrics()?;
    let connections = metrics.sum("lb_service_connections_total", &[("service", "http")]);
    ensure!(
        connections == 200.0,
        "200 connections were made through the kernel, {connections} were counted"
    );
    let answered = [("service", "https"), ("code", "200")];
    let requests = metrics.sum("lb_http_requests_total", &answered);
    ensure!(
        requests == 200.0,
        "200 HTTPS requests were answered, {requests} were counted"
    );
    for web in &lab.webs {
        let backend = [("service", "http"), ("backend", web.name())];
        let packets = metrics.sum("lb_backend_packets_total", &backend);
        ensure!(
            packets >= 50.0 * 8.0,
            "{packets} packets were counted for the 50 connections of {}",
            web.name()
        );
    }
    ensure!(metrics.sum("lb_tls_handshakes_total", &[]) == 200.0);
    Ok(())
}

#[test]
fn bpftool_prints_named_fields() -> Result<()> {
    let lab = Lab::raise()?;
    let _agent = Agent::start(&lab, &Settings::of(&lab))?;
    for map in ["settings", "connections", "backends", "hops", "endpoints"] {
        let pin = format!("{PINS}/maps/{map}");
        let lookup = [
            "-j", "map", "lookup", "pinned", &pin, "key", "0", "0", "0", "0",
        ];
        let entry: Value = serde_json::from_str(&lab.lb_a().run("bpftool", &lookup)?)?;
        let entry = entry.get("formatted").unwrap_or(&entry);
        let fields = entry["value"].as_object();
        ensure!(
            fields.is_some_and(|fields| !fields.is_empty()),
            "an entry of {map} has no named fields: {entry}"
        );
    }
    for map in ["services", "backends", "verdicts", "rings"] {
        lab.lb_a().run(
            "bpftool",
            &["map", "show", "pinned", &format!("{PINS}/maps/{map}")],
        )?;
    }
    Ok(())
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let plan = Plan {
            requests: Some(20),
            ..plan
        };
        plan.run(&lab.client)?.all_answered()?;
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("could not start promtool (package prometheus)")?;
    promtool
        .stdin
        .take()
        .context("promtool has no stdin")?
        .write_all(agent.metrics_text()?.as_bytes())?;
    let output = promtool.wait_with_output()?;
    ensure!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "promtool ended with {} and says: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Returns the number of packets that the interface received and the sum of all verdicts, read at a
/// moment without traffic.
fn in_silence(agent: &Agent) -> Result<(u64, u64)> {
    wait::until(
        "two looks without a packet between",
        Duration::from_secs(30),
        || {
            let first = received(agent.host())?;
            let counted = agent.metrics()?.sum("lb_xdp_packets_total", &[]);
            Ok((first == received(agent.host())?).then_some((first, counted as u64)))
        },
    )
}

fn received(host: &Host) -> Result<u64> {
    let json = host.run("ip", &["-s", "-j", "link", "show", "eth0"])?;
    let links: Value = serde_json::from_str(&json)?;
    links[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .context("`ip -s link` shows no packets")
}
