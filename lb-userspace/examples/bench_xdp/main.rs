//! Measures the time of the XDP program in nanoseconds per packet, by `BPF_PROG_TEST_RUN`.
//! `cargo xtask bench xdp` runs this example.
//!
//! Each figure is the mean of what the kernel reports for single runs (`repeat = 1`: with more the
//! kernel would feed the rewritten packet back in), less that of an empty program, taken in
//! interleaved rounds; the printed figure is the median over the rounds. If an object of Katran is
//! given, Katran is fed the same packets in the same rounds.

mod balancer;
mod churn;
mod cpus;
mod figures;
mod katran;
mod occupied;
mod packets;
mod path;
#[expect(dead_code, reason = "the tests raise stages of one service")]
#[path = "../../tests/stage/mod.rs"]
mod stage;
mod subject;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, ValueEnum as _};
use lb::config::Balance;

use balancer::Lb;
use churn::Churn;
use figures::{Figures, Rounds};
use katran::Katran;
use occupied::Occupied;
use packets::SERVICES;
use path::Path;
use stage::{Setup, Stage};
use subject::{Setting, Subject, answered};

/// Number of packets that are fed to the empty program in a round.
const EMPTY_RUNS: u32 = 4000;

/// Times the XDP program and prints the figures as JSON.
#[derive(Parser)]
struct Arguments {
    /// Also measure this object of Katran's balancer
    #[arg(long)]
    katran: Option<PathBuf>,
    /// Measure only these paths
    #[arg(long, value_delimiter = ',')]
    only: Vec<Path>,
    /// Number of rounds; each measures every path once
    #[arg(long, default_value_t = 31)]
    rounds: u32,
    /// Capacity of the tables in connections
    #[arg(long, default_value_t = 1 << 21)]
    max_connections: u32,
    /// Connections that open and close per second while packets of established connections are
    /// measured
    #[arg(long, default_value_t = 20_000)]
    churn_rate: u32,
}

impl Arguments {
    /// Returns the paths to measure, in the order of measurement: a path during which connections
    /// open and close on another CPU comes after the same path without such connections.
    fn paths(&self, cpus: usize) -> Vec<Path> {
        let wanted = |path: &Path| {
            self.only.is_empty()
                || self.only.contains(path)
                || self.only.iter().any(|only| only.quiet() == Some(*path))
        };
        Path::value_variants()
            .iter()
            .filter(|path| wanted(path) && (cpus > 1 || !path.is_parallel()))
            .copied()
            .collect()
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cpus = cpus::allowed()?;
    let paths = arguments.paths(cpus.len());
    let stage = Stage::raise_as(&Setup {
        balance: Balance::RoundRobin,
        services: &SERVICES,
        max_connections: arguments.max_connections,
        source_addresses: &[],
    });
    let katran = arguments
        .katran
        .as_ref()
        .map(|path| {
            Katran::load(
                path,
                &SERVICES,
                &cpus,
                arguments.max_connections,
                stage.interface,
            )
        })
        .transpose()?;
    let lb = Lb { stage: &stage };
    let setting = Setting {
        stage: &stage,
        cpus: &cpus,
        churn: cpus.get(1).map(|&cpu| Churn {
            cpu,
            rate: arguments.churn_rate,
        }),
    };
    let mut bench = Bench {
        lb: &lb,
        ours: Subject::prepare(&lb, setting, &paths)?,
        katran: katran
            .as_ref()
            .map(|katran| Subject::prepare(katran, setting, &paths))
            .transpose()?,
        occupied: paths
            .contains(&Path::Occupied)
            .then(|| Occupied::prepare(&lb, arguments.rounds))
            .transpose()?,
        back: answered(&lb)?,
        rounds: Rounds::default(),
    };
    for _ in 0..arguments.rounds {
        bench.round(&paths)?;
    }
    all_went_their_way(&stage, bench.occupied.as_ref())?;
    if let Some(katran) = &katran {
        katran.check()?;
    }
    let figures = Figures {
        empty_ns: bench.rounds.empty(),
        rounds: arguments.rounds,
        max_connections: arguments.max_connections,
        cpus: cpus.len(),
        churn_rate: arguments.churn_rate,
        lowest_churn_rate: bench.ours.churn_rate(),
        occupied_refused: bench.occupied.as_ref().map(Occupied::refused_share),
        paths: bench.rounds.paths(),
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// The measured balancers, and the figures so far.
struct Bench<'a> {
    lb: &'a Lb<'a>,
    ours: Subject<'a, Lb<'a>>,
    katran: Option<Subject<'a, Katran>>,
    occupied: Option<Occupied>,
    /// A packet from the backend of an established connection of `lb`.
    back: Vec<u8>,
    rounds: Rounds,
}

impl Bench<'_> {
    /// Measures every path of a packet through the program once, `lb` and Katran in turn.
    fn round(&mut self, paths: &[Path]) -> anyhow::Result<()> {
        let empty = self.ours.empty(EMPTY_RUNS)?;
        self.rounds.note_empty(empty);
        for &path in paths {
            let ours = match path {
                Path::Back => Some(self.ours.time_back(&self.back, empty)?),
                Path::Occupied => self
                    .occupied
                    .as_mut()
                    .map(|occupied| occupied.time(self.lb) - empty),
                _ => self.ours.time(path, empty)?,
            };
            let theirs = match (&mut self.katran, path) {
                (None, _) => None,
                (Some(katran), Path::Flood) => Some(katran.time_flood(empty)?),
                (Some(katran), _) => katran.time(path, empty)?,
            };
            self.rounds.note(path, ours, theirs);
        }
        Ok(())
    }
}

/// Fails if `lb` dropped a packet for another reason than a lack of source ports.
fn all_went_their_way(stage: &Stage, occupied: Option<&Occupied>) -> anyhow::Result<()> {
    let counters = stage.dataplane.counters()?;
    let dropped: Vec<_> = counters
        .verdicts
        .iter()
        .filter(|count| count.verdict == "drop" && count.packets > 0)
        .collect();
    let expected = occupied.map_or(0, Occupied::refused);
    let total: u64 = dropped.iter().map(|count| count.packets).sum();
    ensure!(
        total == expected,
        "lb dropped packets on the way that is timed: {dropped:?}"
    );
    Ok(())
}
