//! A benchmark of the CPU time that state changes of backends cost the agent.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{RingsArguments, machine::Machine, write_json};
use crate::{
    checks::cargo,
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    table::{Column, Table},
    workspace::Workspace,
};

/// The example of `lb-userspace` that runs the benchmark.
const EXAMPLE: &str = "bench_rings";

/// Builds the XDP program and runs the example [`EXAMPLE`].
///
/// # Errors
/// The set-up or a build failed, or the rings, by which the XDP program chooses backends, could not
/// be written.
pub(crate) fn run(workspace: &Workspace, arguments: &RingsArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Bench)?;
    ebpf::build_and_report(workspace)?;
    child::run(cargo(workspace).args([
        "build",
        "--release",
        "--package",
        "lb-userspace",
        "--example",
        EXAMPLE,
    ]))?;
    let example = workspace.target.join("release/examples").join(EXAMPLE);
    let numbers = [arguments.pools, arguments.backends, arguments.seconds];
    let measured = child::output(
        Privilege::Root
            .command("unshare")?
            .arg("--net")
            .arg(example)
            .args(numbers.map(|number| number.to_string())),
    )
    .context("could not measure the cost of state changes of backends")?;
    let works: BTreeMap<String, Work> = serde_json::from_str(&measured).with_context(|| {
        format!("{EXAMPLE} printed something other than its figures: {measured}")
    })?;
    let figures = Figures {
        machine: Machine::this(),
        pools: arguments.pools,
        backends: arguments.backends,
        seconds: arguments.seconds,
        works,
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
    pools: u16,
    /// Number of backends in each of the pools.
    backends: u16,
    seconds: u16,
    works: BTreeMap<String, Work>,
}

/// The output of the example [`EXAMPLE`] for one way in which the state changes of backends are
/// distributed.
#[derive(Deserialize, Serialize)]
struct Work {
    /// CPU time of the process that stands for the agent, in per cent of one core.
    cpu_percent: f64,
    /// Median time from a state change of a backend until the XDP program chooses backends
    /// accordingly, in milliseconds.
    delay_median_ms: f64,
    delay_worst_ms: f64,
    /// Time that it took to apply all services for the first time, in milliseconds.
    start_ms: f64,
}

fn print(figures: &Figures) {
    let mut table = Table::new([
        Column::Left("changes of state"),
        Column::Right("% of a core"),
        Column::Right("in force after ms"),
        Column::Right("worst"),
        Column::Right("all services after ms"),
    ]);
    for (name, work) in &figures.works {
        table.row([
            name.replace('_', " "),
            format!("{:.2}", work.cpu_percent),
            format!("{:.2}", work.delay_median_ms),
            format!("{:.2}", work.delay_worst_ms),
            format!("{:.1}", work.start_ms),
        ]);
    }
    println!("{table}");
    println!("{}", figures.machine);
    println!(
        "{} pools of {} backends, each backend up or down once a second for {} s: CPU time of the \
         process, without the checks. One by one: spread over the second; together: at its \
         beginning.",
        figures.pools, figures.backends, figures.seconds
    );
}
