//! Runs `lb doctor` and reads its output.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Host,
    agent::{CONFIG_FILE, ENVIRONMENT_FILE, binary},
};
use serde_json::Value;

/// Maximum duration of a run of `lb doctor`: what the documentation promises, and some time for a
/// busy machine.
const LONGEST: Duration = Duration::from_secs(13);

/// One line of the output of `lb doctor`: the result of one check of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) check: String,
    pub(crate) subject: String,
    pub(crate) state: String,
    pub(crate) found: String,
    pub(crate) fix: String,
}

/// The lines of the output of `lb doctor`.
#[derive(Clone, Debug)]
pub(crate) struct Report(pub(crate) Vec<Line>);

impl Report {
    /// Returns the output line of a check whose subject contains the text `subject`.
    pub(crate) fn line(&self, check: &str, subject: &str) -> Result<&Line> {
        let mut lines = self.0.iter();
        let found = lines.find(|line| line.check == check && line.subject.contains(subject));
        found.with_context(|| format!("no line {check} {subject} in {self:#?}"))
    }

    /// Returns the output lines that have this state, such as `fail`.
    pub(crate) fn with_state<'r>(&'r self, state: &'r str) -> impl Iterator<Item = &'r Line> {
        self.0.iter().filter(move |line| line.state == state)
    }
}

/// How `lb doctor` is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doctor {
    /// A program with arguments that runs `lb doctor`, such as one that drops privileges; empty to
    /// run it directly.
    pub(crate) wrapper: Vec<String>,
    /// Environment variables of `lb doctor` in addition to those of the agent.
    pub(crate) environment: Vec<(String, String)>,
}

impl Doctor {
    /// Runs `lb doctor --json` on a host, and reads its output.
    pub(crate) fn examine(&self, host: &Host) -> Result<Report> {
        let began = Instant::now();
        let output = self.run(host, &["--json"])?;
        let took = began.elapsed();
        ensure!(took < LONGEST, "lb doctor took {took:?}");
        let json: Value = serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("no JSON, but: {said}")
        })?;
        let worst = json["worst"].as_str().unwrap_or_default();
        let code = match worst {
            "ok" => 0,
            "warn" => 1,
            "fail" => 2,
            other => bail!("the worst state is {other:?}"),
        };
        ensure!(
            output.status.code() == Some(code),
            "the worst state is {worst}, but {}",
            output.status
        );
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines = json["findings"].as_array().context("no findings")?;
        let lines = lines.iter().map(|line| Line {
            check: text(&line["check"]),
            subject: text(&line["subject"]),
            state: text(&line["state"]),
            found: text(&line["found"]),
            fix: text(&line["fix"]),
        });
        let report = Report(lines.collect());
        for line in &report.0 {
            let needs_fix = line.state == "warn" || line.state == "fail";
            ensure!(needs_fix != line.fix.is_empty(), "state and fix: {line:?}");
        }
        Ok(report)
    }

    /// Runs `lb doctor` on a host with additional arguments.
    pub(crate) fn run(&self, host: &Host, arguments: &[&str]) -> Result<Output> {
        let lb = binary()?.into_os_string();
        let words = self.wrapper.iter().map(Into::into).chain([lb]);
        let mut words = words.collect::<Vec<std::ffi::OsString>>().into_iter();
        let mut command = host.command(words.next().context("no program")?);
        command
            .args(words)
            .args(["doctor", "--config", CONFIG_FILE])
            .args(arguments);
        if let Ok(environment) = host.read(ENVIRONMENT_FILE) {
            command.envs(environment.lines().filter_map(|line| line.split_once('=')));
        }
        command.envs(self.environment.iter().cloned());
        Ok(command.output()?)
    }
}
