//! `cargo xtask …`: all tasks of this repository.
#![forbid(unsafe_code)]

mod bench;
mod checks;
mod child;
mod demo;
mod ebpf;
mod package;
mod progress;
mod setup;
mod sim;
mod steps;
mod table;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    bench::Bench, package::PackageArguments, setup::Purpose, sim::SimArguments,
    workspace::Workspace,
};

/// Builds, tests, demo and benchmarks of lb
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// List and install the tools that are missing on this machine
    Setup {
        /// Only the tools of this command; may be repeated
        #[arg(long = "for", value_name = "COMMAND", default_values = ["build", "demo", "test", "bench", "package"])]
        purposes: Vec<Purpose>,
        /// List what would be installed, without installing it
        #[arg(long)]
        dry_run: bool,
    },
    /// Build the eBPF object, list its contents, and fail if it is incomplete or exceeds a budget
    BuildEbpf,
    /// Build the eBPF object and the agent for use
    Build,
    /// Build a Debian package, an RPM and a tarball, with checksums and a bill of materials
    Package(PackageArguments),
    /// Build everything, and demonstrate the balancer in the lab
    Demo {
        /// Run once without interaction; exit status 0 if every step succeeded
        #[arg(long)]
        once: bool,
        /// Run Prometheus beside the lab, with node_exporter on its hosts, and print its address
        #[arg(long)]
        monitoring: bool,
    },
    /// Check the code and run all tests: unit, property, kernel, end to end
    Test,
    /// Simulate the pair: lost packets, partitions, a slow EC2 API, crashes
    Sim(SimArguments),
    /// Run a benchmark, compared with peers in the same run
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
        Task::Package(arguments) => package::run(&workspace, arguments),
        Task::Demo { once, monitoring } => demo::demo(&workspace, once, monitoring),
        Task::Test => test::run(&workspace),
        Task::Sim(arguments) => sim::run(&workspace, &arguments),
        Task::Bench(bench) => bench::run(&workspace, &bench),
        Task::Lint => test::lint(&workspace),
    }
}
