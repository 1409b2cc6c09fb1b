//! What happens on a host is in its journal of events, once and with its cause, and outlives the
//! agent.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab, Scene,
    agent::{Agent, CERTIFICATE_FILE, CONFIG_FILE, Role, Settings},
    topology::SITE,
    wait,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Returns the events of a kind, the oldest first.
fn events(agent: &Agent, kind: &str) -> Result<Vec<Value>> {
    let text = agent.operate(&["events", "--json", "-n", "1000", "--kind", kind])?;
    serde_json::from_str(&text).context("`lb events --json` printed no JSON")
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

/// Waits for the only event of a kind about a subject, and returns it. Checks that its cause
/// contains a text.
fn only(agent: &Agent, kind: &str, subject: &str, cause: &str) -> Result<Value> {
    let about = || -> Result<Vec<Value>> {
        let mut found = events(agent, kind)?;
        found.retain(|event| text(event, "subject").contains(subject));
        Ok(found)
    };
    wait::until_true(&format!("an event {kind} of {subject}"), LIMIT, || {
        Ok(!about()?.is_empty())
    })?;
    let found = about()?;
    ensure!(
        found.len() == 1 && found[0]["count"] == 1,
        "{kind}: {found:#?}"
    );
    let event = &found[0];
    ensure!(text(event, "cause").contains(cause), "{event:#}");
    Ok(event.clone())
}

/// Returns the ID and the cause of each recorded event.
fn brief(agent: &Agent) -> Result<Vec<(u64, String)>> {
    let text = agent.operate(&["events", "--json", "-n", "1000"])?;
    let events: Vec<Value> = serde_json::from_str(&text)?;
    let events = events.iter().map(|event| {
        let id = event["id"].as_u64().unwrap_or_default();
        (id, event["cause"].as_str().unwrap_or_default().to_owned())
    });
    Ok(events.collect())
}

#[test]
fn real_causes_are_events_that_survive_a_restart_and_sigkill() -> Result<()> {
    let mut lab = Lab::raise()?;
    let settings = Settings::of(&lab);
    let agent = Agent::start(&lab, &settings)?;
    only(&agent, "agent_started", "agent", "started: ")?;

    // Events of a backend: it is killed, and comes back.
    lab.web("web2")?.kill()?;
    let down = only(&agent, "backend_down", "/web2", "from up to down: ")?;
    ensure!(text(&down, "severity") == "warn", "{down:#}");
    ensure!(text(&down, "cause").contains("refused"), "{down:#}");
    lab.web("web2")?.start()?;
    only(
        &agent,
        "backend_up",
        "/web2",
        "from down to up: checks succeed",
    )?;

    // Events of two reloads: one is refused, the other changes the configuration.
    let host = lab.lb_a();
    host.write(
        CONFIG_FILE,
        settings.toml().replace("round_robin", "round_robbing"),
    )?;
    agent
        .operate(&["reload"])
        .err()
        .context("the reload was accepted")?;
    let refused = only(
        &agent,
        "configuration_refused",
        CONFIG_FILE,
        "round_robbing",
    )?;
    ensure!(text(&refused, "severity") == "error", "{refused:#}");
    agent.reconfigure(&settings.only(&["web1", "web2", "web3"]))?;
    only(&agent, "configuration_loaded", CONFIG_FILE, "web4 removed")?;

    // Events of a certificate file: it is replaced by another certificate, then by an invalid file.
    host.write(CERTIFICATE_FILE, lab.authority.certify(SITE)?.pem())?;
    only(
        &agent,
        "tls_files_changed",
        CERTIFICATE_FILE,
        CERTIFICATE_FILE,
    )?;
    host.write(CERTIFICATE_FILE, "-----BEGIN CERTIFICATE-----\n")?;
    only(&agent, "tls_file_invalid", "TLS files", CERTIFICATE_FILE)?;
    host.write(CERTIFICATE_FILE, lab.authority.certify(SITE)?.pem())?;
    wait::until_true("the certificate is valid again", LIMIT, || {
        Ok(events(&agent, "tls_files_changed")?.len() == 3)
    })?;

    // An event of a command: the operator drains a backend.
    agent.operate(&["backend", "drain", "web1"])?;
    only(&agent, "backend_override", "web1", "set to drain")?;
    only(&agent, "backend_draining", "/web1", "operator override")?;
    agent.operate(&["backend", "ready", "web1"])?;

    let before = brief(&agent)?;
    agent.sigterm()?;
    let agent = Agent::start_again(host)?;
    still_there(&agent, &before)?;
    only(&agent, "agent_stopping", "agent", "SIGTERM")?;
    let started = events(&agent, "agent_started")?;
    ensure!(
        text(&started[1], "cause").contains("the previous one stopped"),
        "{started:#?}"
    );

    let before = brief(&agent)?;
    agent.sigkill()?;
    let agent = Agent::start_again(host)?;
    still_there(&agent, &before)?;
    let started = events(&agent, "agent_started")?;
    ensure!(
        text(&started[2], "cause").contains("ended unexpectedly"),
        "{started:#?}"
    );

    // `lb events` without `--json` prints a line for a person to read for each event.
    let shown = agent.operate(&["events", "-n", "1000"])?;
    ensure!(
        shown
            .lines()
            .any(|line| line.contains("backend_down  ") && line.contains("/web2  The backend")),
        "{shown}"
    );
    let recent = agent.operate(&["events", "--since", "1s", "--kind", "backend_down"])?;
    ensure!(recent == "no such event is recorded\n", "{recent}");
    Ok(())
}

fn still_there(agent: &Agent, before: &[(u64, String)]) -> Result<()> {
    let after = brief(agent)?;
    ensure!(
        before.iter().all(|event| after.contains(event)),
        "before: {before:#?}\nafter: {after:#?}"
    );
    Ok(())
}

#[test]
fn events_are_followed_across_a_restart_of_the_agent() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let host = lab.lb_a();
    let lb = lab::agent::binary()?;
    let lb = lb.to_str().context("the path of `lb` is not UTF-8")?;
    let mut follow = host.spawn("follow", lb, &["events", "--follow", "--json"])?;
    agent.operate(&["backend", "drain", "web1"])?;
    agent.operate(&["backend", "ready", "web1"])?;
    agent.sigkill()?;
    thread::sleep(Duration::from_secs(1));
    let agent = Agent::start_again(host)?;
    agent.operate(&["backend", "down", "web1"])?;
    wait::until_true("all events are followed", LIMIT, || {
        Ok(["set to drain", "ended unexpectedly", "set to down"]
            .iter()
            .all(|it| follow.log().contains(it)))
    })?;
    let lines = follow.log();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let id = format!("\"id\":{},", event["id"]);
        ensure!(lines.matches(&id).count() == 1, "shown twice: {line}");
    }
    follow.kill()
}

#[test]
fn a_failover_is_an_event_with_its_cause_on_the_host_that_takes_over() -> Result<()> {
    let mut scene = Scene::raise()?;
    let standby = scene.pair.agent(1)?;
    only(standby, "link_up", "link", "lb-a")?;
    let before = events(standby, "role_changed")?.len();
    scene.pair.take(0)?.sigkill()?;
    let standby = scene.pair.agent(1)?;
    standby.wait_for_role(Role::Master, LIMIT)?;
    let changes = events(standby, "role_changed")?;
    ensure!(changes.len() == before + 1, "{changes:#?}");
    let cause = text(&changes[before], "cause");
    ensure!(
        cause
            == "The role changed from backup to master: no advert of the master arrived for the \
                  master-down interval",
        "{cause}"
    );
    only(standby, "link_down", "link", "is down: ")?;
    wait::until_true("the move of the address", LIMIT, || {
        let owners = events(standby, "elastic_ip_owner")?;
        Ok(owners
            .last()
            .is_some_and(|event| text(event, "cause").contains("belongs to this host")))
    })?;

    // The first host is active again, and the operator has it hand over to the second host.
    scene.pair.start_again(0)?;
    scene.wait_until_agreed(0)?;
    let active = scene.pair.agent(0)?;
    active.operate(&["failover"])?;
    only(active, "handover_requested", "role", "operator")?;
    only(active, "handover_completed", "role", "the peer is active")?;
    let changes = events(active, "role_changed")?;
    let last = changes.last().context("no change of the role")?;
    ensure!(
        text(last, "cause").ends_with("from master to backup: the role was handed over"),
        "{last:#}"
    );
    Ok(())
}
