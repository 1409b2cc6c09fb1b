//! The agent is killed at various moments, and the kernel continues to forward packets.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, Metrics, Settings},
    load::{Plan, Reuse},
};

#[test]
fn no_connection_breaks_when_the_agent_is_killed_and_the_counters_go_on() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let kept = gentle(Reuse::Always).start(&lab.client);
    let fresh = gentle(Reuse::Never).start(&lab.client);
    thread::sleep(Duration::from_secs(2));

    let before = agent.metrics()?;
    agent.sigkill()?;
    thread::sleep(Duration::from_secs(3));
    let agent = Agent::start_again(lab.lb_a())?;
    let after = agent.metrics()?;
    let status = agent.status()?;
    ensure!(status["xdp"]["adopted"] == true, "it was reset: {status:#}");
    thread::sleep(Duration::from_secs(4));

    let (kept, fresh) = (kept.stop()?, fresh.stop()?);
    kept.all_answered().context("on connections that last")?;
    fresh.all_answered().context("on new connections")?;
    ensure!(
        kept.connections == 8,
        "8 connections were to last, but {} were opened",
        kept.connections
    );
    println!(
        "{} requests on 8 connections and {} on as many connections, all answered",
        kept.answers.len(),
        fresh.answers.len()
    );
    went_on(&before, &after)
}

#[test]
fn a_service_that_is_killed_and_restarted_keeps_its_connections() -> Result<()> {
    let lab = Lab::raise()?;
    // The first agent runs as root, to show that an agent of the systemd unit adopts the pins of an
    // agent that was started by hand.
    drop(Agent::start(&lab, &Settings::of(&lab))?.quiet());
    let agent = Agent::start_as_unit(lab.lb_a())?;
    let kept = gentle(Reuse::Always).start(&lab.client);
    thread::sleep(Duration::from_secs(1));
    agent.sigkill()?;
    let agent = Agent::start_as_unit(lab.lb_a())?;
    let status = agent.status()?;
    ensure!(status["xdp"]["adopted"] == true, "it was reset: {status:#}");
    thread::sleep(Duration::from_secs(1));
    let report = kept.stop()?;
    report.all_answered()?;
    ensure!(
        report.connections == 8,
        "{} connections",
        report.connections
    );
    Ok(())
}

#[test]
fn an_agent_that_ends_in_order_hands_over_to_the_next() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let kept = gentle(Reuse::Always).start(&lab.client);
    thread::sleep(Duration::from_secs(1));
    let before = agent.metrics()?;
    let status = agent.sigterm()?;
    ensure!(
        status.success(),
        "asked to end, the agent ended with {status}"
    );
    let agent = Agent::start_again(lab.lb_a())?;
    went_on(&before, &agent.metrics()?)?;
    let report = kept.stop()?;
    ensure!(
        report.connections == 8,
        "{} connections",
        report.connections
    );
    report.all_answered()
}

/// Returns the parameters of a load of continuous requests, with a pause after each request.
fn gentle(reuse: Reuse) -> Plan {
    Plan {
        reuse,
        pause: Duration::from_millis(2),
        ..Plan::http()
    }
}

/// Checks that a new agent has not reset the kernel's counters: `after` is not below `before`.
fn went_on(before: &Metrics, after: &Metrics) -> Result<()> {
    let kernels = [
        "lb_xdp_packets_total",
        "lb_service_packets_total",
        "lb_service_bytes_total",
        "lb_backend_packets_total",
    ];
    for name in kernels {
        let earlier = before.samples(name, &[]);
        ensure!(!earlier.is_empty(), "there was no {name}");
        for sample in earlier {
            let labels: Vec<_> = (sample.labels.iter())
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            let now = after.sum(name, &labels);
            ensure!(
                now >= sample.value,
                "{name}{:?} was {} and is {now} under the next agent",
                sample.labels,
                sample.value
            );
        }
        ensure!(
            after.sum(name, &[]) > before.sum(name, &[]),
            "{name} did not advance without an agent"
        );
    }
    Ok(())
}
