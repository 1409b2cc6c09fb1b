//! The agent's log: every line can be read by a program, and its level can be changed while the
//! agent runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{
    Lab,
    agent::{Agent, CONFIG_FILE, Settings, install_certificate},
    wait,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Starts an agent whose log has the format `json` and this level.
fn start(lab: &Lab, level: &str) -> Result<Agent> {
    install_certificate(lab)?;
    let log = format!("\n[log]\nformat = \"json\"\nlevel = \"{level}\"\n");
    let toml = Settings::of(lab).toml() + &log;
    lab.lb_a().write(CONFIG_FILE, toml)?;
    Agent::start_again(lab.lb_a())
}

/// Returns all lines of the agent's log, parsed as JSON.
fn lines(agent: &Agent) -> Result<Vec<Value>> {
    let log = agent.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    lines.collect()
}

/// Returns the number of lines of the agent's log in which the field `field` has this value.
fn count(agent: &Agent, field: &str, value: &str) -> Result<usize> {
    let lines = lines(agent)?;
    let found = lines.iter().filter(|line| line["fields"][field] == value);
    Ok(found.count())
}

#[test]
fn each_line_of_json_has_time_level_message_and_fields() -> Result<()> {
    let mut lab = Lab::raise()?;
    let agent = start(&lab, "info")?;
    lab.web("web2")?.kill()?;
    agent.wait_for_backend("web2", false, LIMIT)?;
    lab.lb_a()
        .write(CONFIG_FILE, "[node]\nname = \"broken\"\n")?;
    agent
        .operate(&["reload"])
        .err()
        .context("the reload was accepted")?;
    let lines = lines(&agent)?;
    ensure!(lines.len() >= 5, "{lines:#?}");
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
    let agent = start(&lab, "error")?;
    ensure!(agent.log().is_empty(), "{}", agent.log());
    let said = agent.operate(&["log-level", "info", "--for", "5s"])?;
    ensure!(
        said == "the log level is now info: the operator set it for 5s\n",
        "{said}"
    );
    lab.web("web2")?.kill()?;
    wait::until_true("a line of the lower level", LIMIT, || {
        Ok(count(&agent, "backend", "web2")? == 1)
    })?;
    let changes = || agent.operate(&["events", "--kind", "log_level_changed"]);
    wait::until_true("the end of the time", LIMIT, || {
        Ok(changes()?.contains("now error: the time that the operator set has expired"))
    })?;

    lab.web("web3")?.kill()?;
    agent.wait_for_backend("web3", false, LIMIT)?;
    // The change of a backend's state is not logged at this level, but is still recorded as an
    // event.
    let down = || agent.operate(&["events", "--kind", "backend_down"]);
    wait::until_true("the event", LIMIT, || Ok(down()?.contains("/web3")))?;
    ensure!(count(&agent, "backend", "web3")? == 0, "{}", agent.log());

    agent.operate(&["log-level", "warn"])?;
    lab.web("web4")?.kill()?;
    wait::until_true("a line of the level that stays", LIMIT, || {
        Ok(count(&agent, "backend", "web4")? == 1)
    })?;
    let said = agent.operate(&["log-level", "configured"])?;
    ensure!(said.starts_with("the log level is now error"), "{said}");
    let error = agent.operate(&["log-level", "verbose"]).err();
    let error = error.context("an unknown level was accepted")?.to_string();
    ensure!(
        error.contains("use error, warn, info, debug or trace"),
        "{error}"
    );
    Ok(())
}
