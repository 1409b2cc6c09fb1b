//! Nanoseconds per packet of the XDP program, compared with Katran's if an object of it is given.

mod rows;

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use self::rows::print;
use super::{machine::Machine, write_json};
use crate::{
    checks::cargo,
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    workspace::Workspace,
};

/// Options of the XDP benchmark.
#[derive(Args)]
pub(crate) struct XdpArguments {
    /// Measure this object of Katran's balancer in the same rounds; docs/benchmarks.md explains how
    /// to build one
    #[arg(long, value_name = "OBJECT")]
    katran: Option<PathBuf>,
    /// Measure only these paths, such as `known,new`; an unknown name lists all paths
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    only: Vec<String>,
    /// Number of rounds; each measures every path once
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Table capacity, as a number of connections
    #[arg(long, default_value_t = 1 << 21, value_parser = clap::value_parser!(u32).range(1024..=1 << 23))]
    max_connections: u32,
    /// Connections that open and close per second while packets of established connections are
    /// measured
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=120_000))]
    churn_rate: u32,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl XdpArguments {
    /// Converts the options to command-line arguments of the example `bench_xdp`.
    fn of_example(&self) -> anyhow::Result<Vec<String>> {
        let mut arguments = Vec::new();
        let mut give = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        give("--rounds", self.rounds.to_string());
        give("--max-connections", self.max_connections.to_string());
        give("--churn-rate", self.churn_rate.to_string());
        if !self.only.is_empty() {
            give("--only", self.only.join(","));
        }
        if let Some(object) = &self.katran {
            let path = fs::canonicalize(object)
                .with_context(|| format!("cannot find Katran's object {}", object.display()))?;
            let path = path
                .to_str()
                .with_context(|| format!("{} is not UTF-8", path.display()))?;
            give("--katran", path.to_owned());
        }
        Ok(arguments)
    }
}

/// Builds the XDP program and times it with the example `bench_xdp`.
///
/// # Errors
/// The set-up or a build failed, or the program could not be loaded or timed.
pub(crate) fn run(workspace: &Workspace, arguments: &XdpArguments) -> anyhow::Result<()> {
    let of_example = arguments.of_example()?;
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
    let timed = child::output(
        Privilege::Root
            .command("unshare")?
            .arg("--net")
            .arg(example)
            .args(of_example),
    )
    .context("could not measure the XDP program")?;
    let times: Times = serde_json::from_str(&timed)
        .with_context(|| format!("{EXAMPLE} printed something other than its figures: {timed}"))?;
    let figures = Figures {
        machine: Machine::this(),
        compiler: fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
            .is_ok_and(|enabled| enabled.trim() != "0"),
        times,
    };
    print(&figures);
    arguments
        .json
        .as_ref()
        .map_or(Ok(()), |path| write_json(path, &figures))
}

/// The example of `lb-userspace` that measures the XDP program.
const EXAMPLE: &str = "bench_xdp";

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    /// Whether the kernel's JIT compiler for BPF is enabled.
    #[serde(rename = "jit")]
    compiler: bool,
    #[serde(flatten)]
    times: Times,
}

/// The output of the example [`EXAMPLE`]; each figure is the median over its rounds.
#[derive(Deserialize, Serialize)]
struct Times {
    /// Nanoseconds per packet of an empty program, which were already subtracted from the other
    /// figures.
    empty_ns: f64,
    rounds: u32,
    max_connections: u32,
    cpus: usize,
    /// Configured number of connections per second that open and close during the measurement.
    churn_rate: u32,
    /// The lowest rate of such connections per second that any round reached; `None` if none was
    /// measured.
    lowest_churn_rate: Option<f64>,
    /// Share (0 to 1) of the new connections that were dropped while 70% of the source ports were
    /// in use; `None` if it was not measured.
    occupied_refused: Option<f64>,
    paths: Vec<Time>,
}

/// The figures of one path of a packet through the program, in nanoseconds per packet. Ratios are
/// computed within each round.
#[derive(Deserialize, Serialize)]
struct Time {
    /// Name of the path of a packet through the program, as the example [`EXAMPLE`] prints it.
    path: String,
    lb_ns: Option<f64>,
    katran_ns: Option<f64>,
    /// Ratio of `lb_ns` to `katran_ns`; `None` if Katran was not measured.
    ratio: Option<f64>,
    /// Ratio of `lb_ns` to the figure of the same path without connections that open and close.
    lb_to_quiet: Option<f64>,
    katran_to_quiet: Option<f64>,
}
