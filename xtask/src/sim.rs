//! `cargo xtask sim`: the simulation of the pair.

use clap::Args;

use crate::{
    checks::{HOST_PACKAGES, cargo},
    child,
    workspace::Workspace,
};

/// Number of simulated runs in `cargo xtask test`.
const SEEDS: u64 = 100_000;

/// Options of `cargo xtask sim`, which simulates the two hosts of a pair.
#[derive(Args)]
pub(crate) struct SimArguments {
    /// Number of runs
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// Seed of the first run
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed, with a trace of all events
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Builds the simulator and runs it.
///
/// # Errors
/// The build failed, or a run of the simulation violated an invariant, which the simulator has
/// printed.
pub(crate) fn run(workspace: &Workspace, arguments: &SimArguments) -> anyhow::Result<()> {
    child::run(
        cargo(workspace)
            .arg("build")
            .args(HOST_PACKAGES)
            .args(["--bin", "lb-sim"]),
    )?;
    let mut sim = child::command(workspace.target.join("debug/lb-sim"));
    match arguments.seed {
        Some(seed) => sim.args(["--seed", &seed.to_string()]),
        None => sim
            .args(["--seeds", &arguments.seeds.to_string()])
            .args(["--from", &arguments.from.to_string()]),
    };
    child::run(&mut sim)
}

/// Runs the simulation with as many seeds as `cargo xtask test` uses.
///
/// # Errors
/// The same as of [`run`].
pub(crate) fn test(workspace: &Workspace) -> anyhow::Result<()> {
    let arguments = SimArguments {
        seeds: SEEDS,
        from: 0,
        seed: None,
    };
    run(workspace, &arguments)
}
