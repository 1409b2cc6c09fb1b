//! The agent's log: every line can be read by a program, and its level changes while the agent runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings, install_certificate},
    wait,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Starts an agent with lines of JSON.
fn start(lab: &Lab) -> Result<Agent> {
    install_certificate(lab)?;
    let toml = Settings::of(lab).toml() + "\n[log]\nformat = \"json\"\n";
    lab.lb_a().write(CONFIG_FILE, toml)?;
    Agent::start_again(lab.lb_a())
}

/// Returns all lines of the log.
fn lines(agent: &Agent) -> Result<Vec<Value>> {
    let log = agent.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    lines.collect()
}

fn has(agent: &Agent, level: &str) -> Result<bool> {
    Ok(lines(agent)?.iter().any(|line| line["level"] == level))
}

#[test]
fn each_line_of_json_has_time_level_message_and_fields() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = start(&lab)?;
    lab.web("web2")?.kill()?;
    agent.wait_for_backend("web2", false, LIMIT)?;
    lab.lb_a()
        .write(CONFIG_FILE, "[node]\nname = \"broken\"\n")?;
    agent
        .operate(&["reload"])
        .err()
        .context("the reload was accepted")?;
    let lines = lines(&agent)?;
    ensure!(lines.len() > 5, "{lines:#?}");
    for line in &lines {
        let time = line["time"].as_str().unwrap_or_default();
        ensure!(
            time.len() == "2027-01-15T08:00:00.000Z".len() && time.ends_with('Z'),
            "{line}"
        );
        let level = line["level"].as_str().unwrap_or_default();
        ensure!(["error", "warn", "info"].contains(&level), "{line}");
        ensure!(
            line["message"].as_str().is_some_and(|it| !it.is_empty()),
            "{line}"
        );
        ensure!(line["fields"].is_object(), "{line}");
    }
    let down = lines
        .iter()
        .find(|line| line["fields"]["event"] == "backend_down");
    let down = down.context("no line about the backend")?;
    ensure!(down["message"] == "backend state changed", "{down}");
    ensure!(
        down["fields"]["backend"] == "web2" && down["level"] == "warn",
        "{down}"
    );
    Ok(())
}

#[test]
fn the_level_changes_for_a_time_while_the_agent_runs() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = start(&lab)?;
    ensure!(
        !has(&agent, "debug")? && !has(&agent, "trace")?,
        "{}",
        agent.log()
    );
    let said = agent.operate(&["log-level", "trace", "--for", "2s"])?;
    ensure!(
        said == "the level of the log is trace now: the operator set it for 2s\n",
        "{said}"
    );
    agent.status()?;
    wait::until_true("lines of the lower level", LIMIT, || has(&agent, "trace"))?;
    let ended = || -> Result<bool> {
        let lines = lines(&agent)?;
        Ok(lines
            .iter()
            .any(|line| line["fields"]["reason"] == "the time that the operator set has passed"))
    };
    wait::until_true("the end of the time", LIMIT, ended)?;
    let count = |agent: &Agent| -> Result<usize> {
        Ok(lines(agent)?
            .iter()
            .filter(|line| line["level"] == "trace")
            .count())
    };
    let before = count(&agent)?;
    agent.status()?;
    lab.web("web2")?.kill()?;
    agent.wait_for_backend("web2", false, LIMIT)?;
    ensure!(
        count(&agent)? == before,
        "lines of a level that is no longer in force"
    );

    agent.operate(&["log-level", "error"])?;
    lab.web("web3")?.kill()?;
    agent.wait_for_backend("web3", false, LIMIT)?;
    ensure!(
        !lines(&agent)?
            .iter()
            .any(|line| line["fields"]["backend"] == "web3"),
        "{}",
        agent.log()
    );
    // What is not logged is still an event.
    let events = agent.operate(&[
        "events",
        "--kind",
        "backend_down",
        "--kind",
        "log_level_changed",
    ])?;
    ensure!(
        events.contains("/web3") && events.contains("The level of the log is error now"),
        "{events}"
    );
    let error = agent
        .operate(&["log-level", "verbose"])
        .err()
        .context("accepted")?
        .to_string();
    ensure!(
        error.contains("use error, warn, info, debug or trace"),
        "{error}"
    );
    Ok(())
}
