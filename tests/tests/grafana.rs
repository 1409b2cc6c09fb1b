//! The files of `deploy/grafana`: dashboards that equal their source, fit Grafana's published
//! model, and ask only for documented metrics.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lab::monitoring::{
    dashboards::{ALL, Panel},
    expression::metrics_in,
    rules::{self, Kind},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    root().join("deploy/grafana/dashboards")
}

fn panels() -> impl Iterator<Item = (&'static str, &'static Panel)> {
    let rows = ALL
        .iter()
        .flat_map(|dashboard| dashboard.rows.iter().map(|row| (dashboard.uid, row)));
    rows.flat_map(|(uid, (_, panels))| panels.iter().map(move |panel| (uid, panel)))
}

#[test]
fn the_dashboards_are_those_of_the_source() -> Result<()> {
    let mut expected = BTreeSet::new();
    for dashboard in ALL {
        let path = folder().join(format!("{}.json", dashboard.uid));
        let json = dashboard.file()?;
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &json)?;
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        ensure!(
            found == json,
            "{} differs from tests/src/monitoring/dashboards; write it with \
             `UPDATE=1 cargo test --test grafana`",
            path.display()
        );
        expected.insert(path);
    }
    let entries = fs::read_dir(folder())?;
    let found = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<BTreeSet<_>>>()?;
    ensure!(found == expected, "{found:?} instead of {expected:?}");
    Ok(())
}

#[test]
fn the_dashboards_survive_grafanas_published_model_without_loss() -> Result<()> {
    let python = python()?;
    let files = ALL
        .iter()
        .map(|dashboard| folder().join(format!("{}.json", dashboard.uid)));
    let output = Command::new(&python)
        .arg(root().join("tests/grafana/round_trip.py"))
        .args(files)
        .output()
        .with_context(|| format!("could not start {}", python.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.lines().count() == ALL.len(), "{said}");
    Ok(())
}

/// Returns the path of the Python in the virtual environment that `cargo xtask setup` makes for
/// Grafana's model, in the target directory, or the one that `LB_GRAFANA_PYTHON` names.
fn python() -> Result<PathBuf> {
    if let Some(named) = env::var_os("LB_GRAFANA_PYTHON") {
        return Ok(PathBuf::from(named));
    }
    let ours = env::current_exe()?;
    let found = ours
        .ancestors()
        .map(|folder| folder.join("grafana/bin/python3"))
        .find(|python| python.exists());
    found.context("no grafana-foundation-sdk in the target directory: run `cargo xtask setup`")
}

#[test]
fn every_panel_has_a_description_a_unit_and_the_variables_in_its_queries() -> Result<()> {
    let mut count = 0;
    for (uid, panel) in panels() {
        let title = panel.title;
        ensure!(
            panel.description.ends_with('.') && !panel.unit.is_empty(),
            "{uid}: {title} has no description or no unit"
        );
        ensure!(!panel.queries.is_empty(), "{uid}: {title} asks nothing");
        for (query, _) in panel.queries {
            // A query of alerts (`ALERTS`) need not select the job: it shows those of all jobs.
            let is_of_job = query.contains("job=\"$job\"") || query.contains("ALERTS{");
            ensure!(is_of_job, "{uid}: {title} ignores $job: {query}");
        }
        count += 1;
    }
    ensure!(count > 60, "{count} panels");
    Ok(())
}

#[test]
fn every_metric_of_a_panel_is_documented() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/metrics.md"))?;
    let all = rules::all();
    let recorded: BTreeSet<_> = (all.iter())
        .filter(|rule| rule.kind == Kind::Record)
        .map(|rule| rule.name.as_str())
        .collect();
    for (uid, panel) in panels() {
        for (query, _) in panel.queries {
            let metrics = metrics_in(query);
            ensure!(!metrics.is_empty(), "{uid}: {query}");
            for metric in metrics {
                let is_documented = |name: &str| page.contains(&format!("| `{name}` |"));
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| metric.strip_suffix(suffix));
                // docs/metrics.md does not list these metrics, which `lb` does not export;
                // tests/tests/dashboards.rs finds them in a real scrape.
                let is_another =
                    metric.starts_with("node_") || metric == "up" || metric == "ALERTS";
                ensure!(
                    is_documented(&metric)
                        || family.is_some_and(is_documented)
                        || recorded.contains(metric.as_str())
                        || is_another,
                    "{uid}: {} reads {metric}, which docs/metrics.md lacks",
                    panel.title
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_dashboard_for_every_documented_metric_but_a_few() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/metrics.md"))?;
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let asked: String = panels()
        .flat_map(|(_, panel)| panel.queries)
        .map(|(query, _)| *query)
        .collect();
    // No panel shows these metrics, because `lb_backend_up` shows the same.
    let left_out = ["lb_backend_state", "lb_pool_all_down"];
    let missing: Vec<_> = names
        .map(|(name, _)| name)
        .filter(|name| !asked.contains(name) && !left_out.contains(name))
        .collect();
    ensure!(missing.is_empty(), "no panel shows {missing:?}");
    Ok(())
}
