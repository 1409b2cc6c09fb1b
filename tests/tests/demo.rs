//! Tests of the demo (`lb-lab demo --once`), run as by a script.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use lab::agent;

/// Serialises the tests, as the demo measures times and shares, which a concurrent demo would
/// distort.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_demo_ends_with_0_and_says_what_happened() -> Result<()> {
    let _alone = alone();
    run_once()
}

#[test]
fn the_demo_runs_after_an_earlier_one_was_killed() -> Result<()> {
    let _alone = alone();
    let mut killed = demo()?.stdout(Stdio::piped()).spawn()?;
    let stdout = killed.stdout.take().context("no stdout")?;
    let under_load = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("web2 killed"));
    ensure!(
        under_load,
        "the first demo did not get as far as its third step"
    );
    killed.kill()?;
    killed.wait()?;
    run_once()
}

#[test]
fn a_demo_whose_agent_does_not_start_ends_with_1() -> Result<()> {
    let output = lb_lab().env("LB_BINARY", "/bin/false").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(1) && said.contains("FAILED"),
        "it ended with {}: {said}",
        output.status
    );
    Ok(())
}

#[test]
fn the_demo_runs_prometheus_and_prints_its_address() -> Result<()> {
    let _alone = alone();
    let output = demo()?.arg("--monitoring").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    ensure!(
        output.status.success(),
        "the demo ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for told in [
        "Prometheus: http://127.0.0.1:",
        "9 of 9",
        "alerts that fire",
    ] {
        ensure!(said.contains(told), "it does not say {told:?}");
    }
    Ok(())
}

fn run_once() -> Result<()> {
    let output = demo()?.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    ensure!(
        output.status.success(),
        "the demo ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    for step in 1..=9 {
        ensure!(
            said.contains(&format!("\n{step}. ")),
            "step {step} is missing"
        );
    }
    for told in [
        "lb-a   master",
        "lb-b   backup",
        "time without service",
        "0 of ",
    ] {
        ensure!(said.contains(told), "it does not say {told:?}");
    }
    ensure!(
        !said.contains('\x1b'),
        "it printed colours although the output is not a terminal"
    );
    Ok(())
}

fn demo() -> Result<Command> {
    let mut demo = lb_lab();
    demo.env("LB_BINARY", agent::binary()?);
    Ok(demo)
}

fn lb_lab() -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_lb-lab"));
    demo.args(["demo", "--once"]);
    demo
}
