//! Invalid input is rejected with a message and an exit status, and nothing is half-applied.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Host, Lab,
    agent::{self, Agent, CERTIFICATE_FILE, CONFIG_FILE, PINS, Settings},
    load::Plan,
    topology::SITE,
};
use serde_json::Value;

/// Exit statuses that show that the agent ran instead of refusing: `timeout` had to kill it.
const RAN: [i32; 2] = [124, 137];

/// Maximum number of lines of an error message: a sentence, the line of the file, a hint, and a
/// count.
const MOST_LINES: usize = 8;

#[test]
fn an_unknown_key_is_refused_by_its_name() -> Result<()> {
    refused_as(
        "balance =",
        "ballance =",
        &["lb.toml", "ballance", "balance"],
    )
}

#[test]
fn a_bad_address_is_refused_by_its_line() -> Result<()> {
    refused_as(
        "172.31.0.68:80\"",
        "172.31.0.680:80\"",
        &["lb.toml", "172.31.0.680"],
    )
}

#[test]
fn two_services_on_one_address_are_refused() -> Result<()> {
    refused_as(
        "172.31.0.68:443",
        "172.31.0.68:80",
        &["lb.toml", "172.31.0.68:80"],
    )
}

#[test]
fn a_pool_without_backends_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    agent::install_certificate(&lab)?;
    let empty = Settings::of(&lab).only(&[]).toml();
    refused(&lab, &empty, &["lb.toml", "web", "backend"])
}

#[test]
fn an_interface_that_does_not_exist_is_refused() -> Result<()> {
    refused_as("\"eth0\"", "\"eth7\"", &["eth7"])
}

#[test]
fn a_missing_certificate_file_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    // The file is missing: the certificate that the configuration names was not installed.
    refused(&lab, &Settings::of(&lab).toml(), &[CERTIFICATE_FILE])
}

#[test]
fn a_certificate_without_its_key_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    let certificate = lab.authority.certify(SITE)?;
    lab.lb_a().write(CERTIFICATE_FILE, certificate.chain)?;
    refused(&lab, &Settings::of(&lab).toml(), &[CERTIFICATE_FILE, "key"])
}

#[test]
fn a_key_that_anybody_can_read_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    agent::install_certificate(&lab)?;
    let file = lab.lb_a().path(CERTIFICATE_FILE);
    fs::set_permissions(file, Permissions::from_mode(0o644))?;
    let config = Settings::of(&lab).toml();
    refused(&lab, &config, &[CERTIFICATE_FILE, "0644", "chmod 600"])
}

#[test]
fn a_key_of_another_certificate_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    let (one, other) = (lab.authority.certify(SITE)?, lab.authority.certify(SITE)?);
    lab.lb_a()
        .write(CERTIFICATE_FILE, format!("{}{}", one.chain, other.key))?;
    refused(&lab, &Settings::of(&lab).toml(), &[CERTIFICATE_FILE, "key"])
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    let second = agent::try_to_run(lab.lb_a())?;
    said(&second, &["already running"])?;
    for plan in [Plan::http(), Plan::https(&lab)?] {
        let plan = Plan {
            requests: Some(40),
            ..plan
        };
        plan.run(&lab.client)?.all_answered()?;
    }
    agent.status().map(drop)
}

#[test]
fn an_agent_without_cap_bpf_is_refused() -> Result<()> {
    let lab = Lab::raise()?;
    agent::install_certificate(&lab)?;
    lab.lb_a().write(CONFIG_FILE, Settings::of(&lab).toml())?;
    let output = agent::try_to_run_without(lab.lb_a(), "-bpf,-sys_admin")?;
    said(&output, &["CAP_BPF"])?;
    nothing_applied(lab.lb_a())
}

#[test]
fn check_refuses_what_run_refuses_and_ends_with_2() -> Result<()> {
    let lab = Lab::raise()?;
    agent::install_certificate(&lab)?;
    let broken = Settings::of(&lab).toml().replace("forward =", "forwards =");
    lab.lb_a().write(CONFIG_FILE, broken)?;
    let output = lab
        .lb_a()
        .command(agent::binary()?)
        .args(["check", "--config", CONFIG_FILE])
        .output()?;
    said(&output, &["lb.toml", "forwards"])?;
    ensure!(
        output.status.code() == Some(2),
        "it ended with {}",
        output.status
    );
    nothing_applied(lab.lb_a())
}

#[test]
fn unload_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::raise()?;
    let agent = Agent::start(&lab, &Settings::of(&lab))?;
    ensure!(
        nothing_applied(lab.lb_a()).is_err(),
        "a running agent shows nothing"
    );
    agent.sigterm()?;
    lab.lb_a()
        .command(agent::binary()?)
        .args(["unload", "--config", CONFIG_FILE])
        .status()?;
    nothing_applied(lab.lb_a())
}

/// Runs the agent with the text `right` replaced by `wrong` in its configuration, and checks that
/// it refuses to start, with an error that contains `words`.
fn refused_as(right: &str, wrong: &str, words: &[&str]) -> Result<()> {
    let lab = Lab::raise()?;
    agent::install_certificate(&lab)?;
    let config = Settings::of(&lab).toml();
    ensure!(config.contains(right), "the configuration has no {right}");
    refused(&lab, &config.replacen(right, wrong, 1), words)
}

fn refused(lab: &Lab, config: &str, words: &[&str]) -> Result<()> {
    lab.lb_a().write(CONFIG_FILE, config)?;
    said(&agent::try_to_run(lab.lb_a())?, words)?;
    nothing_applied(lab.lb_a())
}

/// Checks that the agent exited with an error message that contains these words.
fn said(output: &Output, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().context("a signal ended it")?;
    ensure!(!RAN.contains(&code), "it ran nevertheless: {said}");
    ensure!(code != 0, "it ended with 0: {said}");
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    let lines = said.lines().filter(|line| !line.trim().is_empty()).count();
    ensure!(
        (1..=MOST_LINES).contains(&lines),
        "{lines} lines are no clear sentence:\n{said}"
    );
    println!("{}", said.trim());
    let errors = said
        .lines()
        .filter(|line| line.starts_with("error:"))
        .count();
    ensure!(errors <= 1, "one mistake, {errors} errors:\n{said}");
    for word in words {
        ensure!(said.contains(word), "its sentence lacks {word:?}: {said}");
    }
    Ok(())
}

/// Checks that an agent that refused to start has left no pin, no program on the interface, and no
/// listener.
fn nothing_applied(host: &Host) -> Result<()> {
    let pins = host.script(&format!("find {PINS} -type f 2>/dev/null || true"))?;
    ensure!(pins.is_empty(), "pins were left behind:\n{pins}");
    let json = host.run("ip", &["-j", "-d", "link", "show", "eth0"])?;
    let links: Value = serde_json::from_str(&json)?;
    ensure!(
        links[0].get("xdp").is_none(),
        "an XDP program was left on the interface: {}",
        links[0]["xdp"]
    );
    let listeners = host.run("ss", &["-Hltnu"])?;
    ensure!(listeners.is_empty(), "there are listeners:\n{listeners}");
    Ok(())
}
