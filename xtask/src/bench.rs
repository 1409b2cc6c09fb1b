//! `cargo xtask bench`: what the balancer costs, beside its peers, in one run.

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

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// CPU time a request or connection of the HTTPS front, beside nginx and HAProxy
    Http(HttpArguments),
    /// Nanoseconds a packet of the XDP program, beside Katran's where an object of it is given
    Xdp(xdp::XdpArguments),
    /// CPU time of the agent while the backends of many pools go down and come back
    Rings(RingsArguments),
    /// Milliseconds without an answer when the active host is lost, beside HAProxy with keepalived
    Failover(FailoverArguments),
    /// Short connections a second, sustained, and the CPU time of each, beside nftables and HAProxy
    Connections(ConnectionsArguments),
    /// What a SYN flood takes from established connections and honest clients
    Flood(FloodArguments),
}

/// How the HTTPS front is measured.
#[derive(Args)]
pub(crate) struct HttpArguments {
    /// Rounds; each measures every proxy once
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
    /// Measure only works whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
    /// Already within the namespaces that were made for it
    #[arg(long, hide = true)]
    inside: bool,
}

/// How changes of state are measured.
#[derive(Args)]
pub(crate) struct RingsArguments {
    /// Pools, each of a service of its own
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pools: u16,
    /// Backends of each pool
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    backends: u16,
    /// Seconds, in each of which every backend changes its state once
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How failover is measured.
#[derive(Args)]
pub(crate) struct FailoverArguments {
    /// Rounds of each kind of loss with each setup
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Measure only these
    #[arg(long = "setup", value_parser = ["usual", "tuned", "lb"], default_values = ["usual", "tuned", "lb"])]
    setups: Vec<String>,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How sustained load is measured.
#[derive(Args)]
pub(crate) struct ConnectionsArguments {
    /// Seconds of each load on each setup
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=3600))]
    seconds: u32,
    /// Measure only these; may be given more than once
    #[arg(long = "setup", value_parser = connections::SETUPS, default_values = connections::SETUPS)]
    setups: Vec<String>,
    /// Measure only with these loads; may be given more than once
    #[arg(long = "load", value_parser = connections::LOADS, default_values = connections::LOADS)]
    loads: Vec<String>,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How a flood is measured.
#[derive(Args)]
pub(crate) struct FloodArguments {
    /// How long the flood lasts, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Connections that are established before; each asks once every 5 seconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    established: u32,
    /// Packets of the flood a second; as many as one core can send, if not given
    #[arg(long)]
    rate: Option<u32>,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures, prints a table, and writes the figures where asked to.
///
/// # Errors
/// The set-up or a build failed, or something could not be measured: never a slow figure.
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
