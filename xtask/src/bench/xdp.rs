//! Nanoseconds a packet of the XDP program, beside Katran's where an object of it is given.

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

/// How the XDP program is measured.
#[derive(Args)]
pub(crate) struct XdpArguments {
    /// Time this object of Katran's balancer in the same rounds; docs/benchmarks.md says how to
    /// build one
    #[arg(long, value_name = "OBJECT")]
    katran: Option<PathBuf>,
    /// Time only these paths, as `known,new`; a name that does not exist is answered with the list
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds; each times every path once
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Connections that the tables have room for
    #[arg(long, default_value_t = 1 << 21, value_parser = clap::value_parser!(u32).range(1024..=1 << 23))]
    max_connections: u32,
    /// Connections a second that open and close beside the known ones
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=120_000))]
    churn_rate: u32,
    /// Write the figures to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
}

impl XdpArguments {
    /// What the example is called with.
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

/// Builds the program and has the agent's example load and time it.
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
    .context("the XDP program was not timed")?;
    let times: Times = serde_json::from_str(&timed)
        .with_context(|| format!("{EXAMPLE} printed something else than its figures: {timed}"))?;
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

/// The example of `lb-userspace` that loads the program and times it.
const EXAMPLE: &str = "bench_xdp";

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    /// Whether the kernel compiles BPF.
    #[serde(rename = "jit")]
    compiler: bool,
    #[serde(flatten)]
    times: Times,
}

/// What the example prints, each figure the median over the rounds.
#[derive(Deserialize, Serialize)]
struct Times {
    /// Nanoseconds of the empty program, which are not in any other figure.
    empty_ns: f64,
    rounds: u32,
    max_connections: u32,
    cpus: usize,
    /// Connections a second that were to open and close.
    churn_rate: u32,
    /// The lowest rate of a round.
    lowest_churn_rate: Option<f64>,
    /// The share of new connections that were dropped where 70% of the source ports were taken.
    occupied_refused: Option<f64>,
    paths: Vec<Time>,
}

/// One path, in nanoseconds a packet; ratios are formed within each round.
#[derive(Deserialize, Serialize)]
struct Time {
    /// The example's name of the path.
    path: String,
    lb_ns: Option<f64>,
    katran_ns: Option<f64>,
    /// `lb`'s over Katran's.
    ratio: Option<f64>,
    /// `lb`'s over its own without connections that open and close meanwhile.
    lb_to_quiet: Option<f64>,
    katran_to_quiet: Option<f64>,
}
