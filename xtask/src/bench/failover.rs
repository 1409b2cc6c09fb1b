//! A benchmark of the time without service after the loss of the active host.

use std::process::Stdio;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{FailoverArguments, machine::Machine, samples::Samples, write_json};
use crate::{
    checks::{HOST_PACKAGES, cargo},
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    table::{Column, Table},
    workspace::Workspace,
};

/// Builds the agent and `lb-lab`, which simulates a network of hosts with network namespaces, and
/// runs the failovers there.
///
/// # Errors
/// The set-up or a build failed, or a setup did not fail over.
pub(crate) fn run(workspace: &Workspace, arguments: &FailoverArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Bench)?;
    ebpf::build_and_report(workspace)?;
    child::run(
        cargo(workspace)
            .args(["build", "--release"])
            .args(HOST_PACKAGES)
            .args(["--bin", "lb", "--bin", "lb-lab"]),
    )?;
    let mut lab = Privilege::Root.command("env")?;
    let lb = workspace.release_binary("lb");
    lab.arg(format!("LB_BINARY={}", lb.display()))
        .arg(workspace.release_binary("lb-lab"))
        .args(["failover", "--rounds", &arguments.rounds.to_string()])
        .args(arguments.setups.iter().flat_map(|setup| ["--setup", setup]))
        // `lb-lab` reports its progress on standard error.
        .stderr(Stdio::inherit());
    let measured = child::output(&mut lab).context("failover was not measured")?;
    let figures = Figures {
        machine: Machine::this(),
        rounds: arguments.rounds,
        gaps: serde_json::from_str(&measured).with_context(|| {
            format!("lb-lab printed something other than its figures: {measured}")
        })?,
    };
    print(&figures);
    arguments
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_json(path, &figures))
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    rounds: u32,
    gaps: Vec<Gaps>,
}

/// The times without service of one setup after one kind of loss.
#[derive(Deserialize, Serialize)]
struct Gaps {
    setup: String,
    lost: String,
    /// The time without service in each round, in milliseconds.
    milliseconds: Samples,
}

fn print(figures: &Figures) {
    println!("\n{}", table(&figures.gaps));
    println!("{}", figures.machine);
    println!(
        "From the loss to the first answered HTTPS request through the Elastic IP, on a new \
         connection every 10 ms, given up after 200 ms of silence: {} rounds each, spread evenly \
         over the time between two checks. An EC2 API that answers at once and a gateway that \
         follows it within 20 ms: AWS itself adds its own seconds to all three alike. keepalived's \
         script makes its two calls with curl; the AWS CLI would add half a second to each.",
        figures.rounds
    );
}

fn table(gaps: &[Gaps]) -> Table<6> {
    let mut table = Table::new([
        Column::Left("lost"),
        Column::Left("pair"),
        Column::Right("median ms"),
        Column::Right("best"),
        Column::Right("worst"),
        Column::Right("times lb"),
    ]);
    for (lost, what) in LOSSES {
        let of = |setup| {
            let mut gaps = gaps.iter();
            gaps.find(|gaps| gaps.lost == lost && gaps.setup == setup)
        };
        let ours = of("lb").and_then(|gaps| gaps.milliseconds.median());
        for (setup, name) in SETUPS {
            let Some(gaps) = of(setup) else {
                continue;
            };
            let samples = &gaps.milliseconds;
            let whole = |figure: Option<f64>| cell(figure.map(|figure| format!("{figure:.0}")));
            let ratio = (samples.median().zip(ours)).map(|(theirs, ours)| theirs / ours);
            table.row([
                what.to_owned(),
                name.to_owned(),
                whole(samples.median()),
                whole(samples.least()),
                whole(samples.most()),
                cell(ratio.map(|ratio| format!("{ratio:.1}"))),
            ]);
        }
    }
    table
}

fn cell(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "-".to_owned())
}

/// The kinds of loss: each with its name in `lb-lab failover`, and its label in the printed table.
const LOSSES: [(&str, &str); 2] = [
    ("process", "the balancer, kill -9"),
    ("host", "the host, cut off"),
];

/// The setups: each with its name in `lb-lab failover`, and its label in the printed table.
const SETUPS: [(&str, &str); 3] = [
    ("usual", "HAProxy, keepalived: as usual"),
    ("tuned", "HAProxy, keepalived: 100 ms adverts"),
    ("lb", "lb"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lb_lab_prints_becomes_a_table_of_ratios() {
        let printed = r#"[
            { "setup": "usual", "lost": "process", "milliseconds": [8000.0, 9000.0, 10500.4] },
            { "setup": "lb", "lost": "process", "milliseconds": [300.0, 450.0, 360.0] }
        ]"#;
        let gaps: Vec<Gaps> = serde_json::from_str(printed).expect("figures");
        let table = table(&gaps).to_string();
        let figures = |name| {
            let line = table.lines().find(|line| line.contains(name));
            let words = line.expect("a row").split_whitespace();
            let words: Vec<_> = words.collect();
            words[words.len() - 4..].join(" ")
        };
        assert_eq!(figures("as usual"), "9000 8000 10500 25.0");
        assert_eq!(figures("  lb "), "360 300 450 1.0");
        assert!(!table.contains("cut off"));
    }
}
