//! `cargo xtask …`: everything a person does to this repository.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod child;
mod demo;
mod ebpf;
mod progress;
mod setup;
mod sim;
mod steps;
mod table;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench::Bench, setup::Purpose, sim::SimArguments, workspace::Workspace};

/// Everything a person does to this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find out what is missing on this machine, say why it is needed, and install it
    Setup {
        /// Only what this command needs; may be given more than once
        #[arg(long = "for", value_name = "COMMAND", default_values = ["build", "demo", "test", "bench"])]
        purposes: Vec<Purpose>,
        /// Say what would be installed, and install nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Build the eBPF object, list what is in it, and fail if something is missing or too big
    BuildEbpf,
    /// Build the eBPF object and the agent, for use
    Build,
    /// Build everything, raise the lab and show the balancer at work
    Demo {
        /// Run through once and end; not 0 if any step failed
        #[arg(long)]
        once: bool,
    },
    /// Check the code and run every test: unit, property, kernel, end to end
    Test,
    /// Run the pair in a simulated world: lost packets, partitions, a slow EC2 API, crashes
    Sim(SimArguments),
    /// Measure, beside peers, in one run
    #[command(subcommand)]
    Bench(Bench),
    /// Check the code only: format, spelling, clippy, documentation, dependencies
    Lint,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup { purposes, dry_run } => setup::run(&purposes, dry_run),
        Task::BuildEbpf => ebpf::build_and_report(&workspace),
        Task::Build => demo::build(&workspace),
        Task::Demo { once } => demo::demo(&workspace, once),
        Task::Test => test::run(&workspace),
        Task::Sim(arguments) => sim::run(&workspace, &arguments),
        Task::Bench(bench) => bench::run(&workspace, &bench),
        Task::Lint => test::lint(&workspace),
    }
}
