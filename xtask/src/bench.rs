//! `cargo xtask bench`: benchmarks of the balancer beside its peers, in the same run.

mod connections;
mod cpu;
mod failover;
mod flood;
mod http;
mod load;
mod machine;
mod namespace;
mod proxy;
mod rings;
mod running;
mod samples;
mod site;
mod xdp;

use std::{fs, path::Path, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::workspace::Workspace;

/// The benchmarks.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// CPU time per request or connection of the HTTPS front, compared with nginx and HAProxy
    Http(HttpArguments),
    /// Nanoseconds per packet of the XDP program, compared with Katran's if an object of it is
    /// given
    Xdp(xdp::XdpArguments),
    /// CPU time of the agent while the backends of many pools go down and up
    Rings(RingsArguments),
    /// Milliseconds without service when the active host is lost, compared with HAProxy and
    /// keepalived
    Failover(FailoverArguments),
    /// Sustained rate of short connections, and CPU time per connection, compared with nftables and
    /// HAProxy
    Connections(ConnectionsArguments),
    /// Effect of a SYN flood on established connections and legitimate clients
    Flood(FloodArguments),
}

/// Options of the HTTPS benchmark.
#[derive(Args)]
pub(crate) struct HttpArguments {
    /// Number of rounds; each measures every proxy once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load on one proxy in one round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Worker threads or processes of each proxy
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Measure only these
    #[arg(long = "proxy", value_enum, default_values_t = proxy::Kind::PEERS)]
    proxies: Vec<proxy::Kind>,
    /// An earlier build of lb, for `--proxy before`
    #[arg(long, value_name = "BINARY")]
    before: Option<PathBuf>,
    /// Measure only loads whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Set in the child process that runs in its own namespaces
    #[arg(long, hide = true)]
    inside: bool,
}

/// Options of the benchmark of state changes of backends.
#[derive(Args)]
pub(crate) struct RingsArguments {
    /// Number of pools, each with its own service
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pools: u16,
    /// Number of backends in each pool
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    backends: u16,
    /// Duration in seconds; every backend changes its state once a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Options of the failover benchmark.
#[derive(Args)]
pub(crate) struct FailoverArguments {
    /// Number of rounds for each kind of loss and each setup
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure only these
    #[arg(long = "setup", value_parser = ["usual", "tuned", "lb"], default_values = ["usual", "tuned", "lb"])]
    setups: Vec<String>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Options of the benchmark of sustained load.
#[derive(Args)]
pub(crate) struct ConnectionsArguments {
    /// Duration in seconds of each load on each setup
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=3600))]
    seconds: u32,
    /// Measure only this setup; may be repeated
    #[arg(long = "setup", value_parser = connections::SETUPS, default_values = connections::SETUPS)]
    setups: Vec<String>,
    /// Measure only with this load; may be repeated
    #[arg(long = "load", value_parser = connections::LOADS, default_values = connections::LOADS)]
    loads: Vec<String>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Options of the flood benchmark.
#[derive(Args)]
pub(crate) struct FloodArguments {
    /// Duration of the flood in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Number of connections established before the flood; each sends a request every 5 seconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    established: u32,
    /// Packets per second of the flood [default: as many as one core can send]
    #[arg(long)]
    rate: Option<u32>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs a benchmark, prints a table of its figures, and writes the figures to a file if requested.
///
/// # Errors
/// The set-up or a build failed, or the measurement is not valid. Figures that are not valid are
/// never printed.
pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Http(arguments) => http::run(workspace, arguments),
        Bench::Xdp(arguments) => xdp::run(workspace, arguments),
        Bench::Rings(arguments) => rings::run(workspace, arguments),
        Bench::Failover(arguments) => failover::run(workspace, arguments),
        Bench::Connections(arguments) => connections::run(workspace, arguments),
        Bench::Flood(arguments) => flood::run(workspace, arguments),
    }
}

fn write_json(path: &Path, figures: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    fs::write(path, text)
        .with_context(|| format!("could not write the figures to {}", path.display()))
}
