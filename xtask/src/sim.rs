//! `cargo xtask sim`: the pair in a simulated world.

use clap::Args;

use crate::{
    checks::{HOST_PACKAGES, cargo},
    child,
    workspace::Workspace,
};

/// Runs in `cargo xtask test`.
const SEEDS: u64 = 100_000;

/// Which runs.
#[derive(Args)]
pub(crate) struct SimArguments {
    /// How many runs
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The seed of the first run
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One run, with a trace of all that happens
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Builds the simulator and runs it.
///
/// # Errors
/// It could not be built, or a run ended as it must not: the simulator has said which one, and why.
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

/// As many runs as a test of the whole has.
///
/// # Errors
/// As [`run`].
pub(crate) fn test(workspace: &Workspace) -> anyhow::Result<()> {
    let arguments = SimArguments {
        seeds: SEEDS,
        from: 0,
        seed: None,
    };
    run(workspace, &arguments)
}
