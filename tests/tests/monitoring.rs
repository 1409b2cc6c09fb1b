//! The files of `deploy/prometheus`, judged by promtool and compared with the documentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lab::monitoring::{
    expression::metrics_in,
    files::RULES,
    rules::{self, Kind, Rule},
};

/// Prefixes of the names of metrics that node_exporter and Prometheus export, and that rules may
/// use. `tests/tests/dashboards.rs` finds them in a real scrape.
const OTHERS: [&str; 2] = ["node_", "prometheus_"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("could not read {path}"))
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root().join(folder))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Runs promtool, and returns its output.
fn promtool(arguments: &[&str], files: &[PathBuf]) -> Result<String> {
    let output = Command::new("promtool")
        .args(arguments)
        .args(files)
        .output()
        .context("could not start promtool (package prometheus)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    Ok(said)
}

#[test]
fn promtool_accepts_the_scrape_configuration_and_the_rules() -> Result<()> {
    let said = promtool(
        &["check", "config"],
        &[root().join("deploy/prometheus/prometheus.yml")],
    )?;
    ensure!(said.contains("5 rule files found"), "{said}");
    let said = promtool(&["check", "rules"], &files("deploy/prometheus/rules")?)?;
    ensure!(
        !said.contains("FAILED") && !said.contains("duplicate"),
        "{said}"
    );
    Ok(())
}

#[test]
fn every_alert_fires_and_does_not_fire_in_the_tests_of_the_rules() -> Result<()> {
    let files = files("deploy/prometheus/tests")?;
    promtool(&["test", "rules"], &files)?;

    // For each alert, the number of test cases in which it fires, and of those in which it does
    // not.
    let mut cases: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for file in &files {
        let text = fs::read_to_string(file)?;
        for case in text.split("- alertname: ").skip(1) {
            let name = case.lines().next().unwrap_or_default();
            let fires = case.contains("exp_labels");
            let counts = cases.entry(name.trim().to_owned()).or_default();
            counts.0 += usize::from(fires);
            counts.1 += usize::from(!fires);
        }
        for case in text.split("- { alertname: ").skip(1) {
            let name = case.split(',').next().unwrap_or_default();
            cases.entry(name.to_owned()).or_default().1 += 1;
        }
    }
    for rule in rules::alerts() {
        let (fires, silent) = cases.remove(&rule.name).unwrap_or_default();
        ensure!(
            fires >= 1 && silent >= 2,
            "{} fires in {fires} cases and is silent in {silent}: it needs one, and one before and after",
            rule.name
        );
    }
    ensure!(cases.is_empty(), "cases of unknown alerts: {cases:?}");
    Ok(())
}

#[test]
fn all_rule_files_are_known_to_the_lab() -> Result<()> {
    let names = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let files = files("deploy/prometheus/rules")?;
    let found: Vec<_> = files.iter().filter_map(names).collect();
    let known: Vec<_> = RULES.iter().map(|(name, _)| (*name).to_owned()).collect();
    ensure!(found == known, "{found:?} in deploy, {known:?} in the lab");
    Ok(())
}

#[test]
fn every_metric_of_a_rule_is_documented() -> Result<()> {
    let documented = documented(&read("docs/metrics.md")?);
    ensure!(documented.len() > 60, "{documented:?}");
    let all = rules::all();
    let recorded: BTreeSet<_> = (all.iter())
        .filter(|rule| rule.kind == Kind::Record)
        .map(|rule| rule.name.clone())
        .collect();
    for Rule {
        name, expression, ..
    } in &all
    {
        let metrics = metrics_in(expression);
        ensure!(!metrics.is_empty(), "{name} reads no metric: {expression}");
        for metric in metrics {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| metric.strip_suffix(suffix))
                .filter(|family| documented.contains(*family))
                .unwrap_or(&metric);
            let is_known = documented.contains(family)
                || recorded.contains(&metric)
                || metric == "up"
                || OTHERS.iter().any(|prefix| metric.starts_with(prefix));
            ensure!(
                is_known,
                "{name} reads {metric}, which docs/metrics.md lacks"
            );
        }
    }
    Ok(())
}

#[test]
fn every_alert_has_a_severity_texts_and_an_entry_in_the_runbook() -> Result<()> {
    let runbook = read("docs/operations.md")?;
    let table = read("docs/monitoring.md")?;
    let alerts = rules::alerts();
    ensure!(alerts.len() > 30, "{} alerts", alerts.len());
    for rule in &alerts {
        let name = &rule.name;
        let severity = rule
            .severity()
            .with_context(|| format!("{name}: severity"))?;
        ensure!(
            ["critical", "warning"].contains(&severity),
            "{name}: {severity}"
        );
        ensure!(
            rule.value("summary").is_some() && rule.text.contains("description: >-"),
            "{name} has no summary or no description"
        );
        let url = rule.value("runbook_url").unwrap_or_default();
        let anchor = url.split_once("operations.md#").map(|(_, anchor)| anchor);
        ensure!(
            anchor == Some(&name.to_lowercase()),
            "{name} has the runbook {url}"
        );
        ensure!(
            has_entry(&runbook, name),
            "docs/operations.md has no entry ### {name}"
        );
        let row = format!(
            "| [{name}](operations.md#{}) | {severity} |",
            name.to_lowercase()
        );
        ensure!(table.contains(&row), "docs/monitoring.md has no row {row}");
    }
    let entries = runbook.lines().filter_map(|line| line.strip_prefix("### "));
    let of_alerts = entries.filter(|entry| entry.starts_with("Lb") || entry.starts_with("Node"));
    let unknown: Vec<_> = of_alerts
        .filter(|entry| alerts.iter().all(|rule| rule.name != *entry))
        .collect();
    ensure!(unknown.is_empty(), "entries without an alert: {unknown:?}");
    Ok(())
}

/// Whether the runbook has a section for the alert of this name: a heading with a text below it.
fn has_entry(runbook: &str, name: &str) -> bool {
    let entry = runbook.split_once(&format!("\n### {name}\n\n"));
    entry.is_some_and(|(_, text)| !text.starts_with('#') && !text.is_empty())
}

/// Returns the names of the metrics in the tables of docs/metrics.md.
fn documented(page: &str) -> BTreeSet<String> {
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    names.map(|(name, _)| name.to_owned()).collect()
}
