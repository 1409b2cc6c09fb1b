//! A benchmark of the CPU time of the HTTPS front, compared with nginx and HAProxy.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{
    HttpArguments, cpu,
    load::{WORKS, Work},
    machine::Machine,
    namespace,
    proxy::{Kind, Programs, Proxy},
    samples::Samples,
    site::Site,
    write_json,
};
use crate::{
    demo,
    setup::{self, Purpose},
    table::{Column, Table},
    workspace::Workspace,
};

/// Builds the binaries, and measures the proxies in separate namespaces.
///
/// # Errors
/// The set-up or a build failed, a proxy did not start, or some requests were not served.
pub(crate) fn run(workspace: &Workspace, arguments: &HttpArguments) -> anyhow::Result<()> {
    if arguments.inside {
        return measure(workspace, arguments);
    }
    setup::ensure(Purpose::Bench)?;
    let measured = &arguments.proxies;
    if measured.contains(&Kind::Lb) || measured.contains(&Kind::Logged) {
        demo::build(workspace)?;
    }
    namespace::enter("--inside")
}

/// All figures of a run of the benchmark, and the parameters of that run.
#[derive(Serialize)]
struct Figures {
    machine: Machine,
    versions: BTreeMap<Kind, String>,
    rounds: u32,
    seconds: u32,
    workers: u32,
    works: Vec<WorkFigures>,
}

#[derive(Serialize)]
struct WorkFigures {
    work: &'static str,
    unit: &'static str,
    /// CPU time of each proxy in microseconds per request or connection, one figure for each round.
    cpu_microseconds: BTreeMap<Kind, Samples>,
}

fn measure(workspace: &Workspace, arguments: &HttpArguments) -> anyhow::Result<()> {
    if !WORKS.iter().any(|work| is_wanted(work, arguments)) {
        let names = WORKS.map(|work| work.name).join("; ");
        bail!("--only matches no load; the loads are {names}");
    }
    namespace::furnish()?;
    let directory = tempfile::Builder::new().prefix("lb-bench-").tempdir()?;
    let site = Site::raise(directory.path())?;
    let kinds = chosen(arguments);
    let programs = Programs {
        lb: workspace.release_binary("lb"),
        before: arguments.before.clone(),
    };
    let proxies = kinds
        .iter()
        .map(|kind| kind.start(&programs, &site, arguments.workers))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut figures = Figures {
        machine: Machine::this(),
        versions: versions(&programs, &kinds)?,
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        workers: arguments.workers,
        works: Vec::new(),
    };
    let mut failed = Vec::new();
    for work in WORKS.iter().filter(|work| is_wanted(work, arguments)) {
        match rounds(work, &proxies, &site, arguments) {
            Ok(measured) => figures.works.push(measured),
            Err(error) => {
                eprintln!("error: {error:#}");
                failed.push(work.name);
            }
        }
    }
    print(&figures, &kinds);
    if let Some(path) = &arguments.json {
        write_json(path, &figures)?;
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join("; "));
    }
    Ok(())
}

fn chosen(arguments: &HttpArguments) -> Vec<Kind> {
    let mut kinds = arguments.proxies.clone();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn is_wanted(work: &Work, arguments: &HttpArguments) -> bool {
    arguments
        .only
        .as_ref()
        .is_none_or(|part| work.name.contains(part))
}

fn versions(programs: &Programs, kinds: &[Kind]) -> anyhow::Result<BTreeMap<Kind, String>> {
    kinds
        .iter()
        .map(|kind| Ok((*kind, kind.version(programs)?)))
        .collect()
}

/// Measures one load on all proxies. Within a round, the proxies are measured immediately one after
/// another, because the machine's clock speed varies; their order rotates from round to round.
fn rounds(
    work: &Work,
    proxies: &[Proxy],
    site: &Site,
    arguments: &HttpArguments,
) -> anyhow::Result<WorkFigures> {
    let mut figures = WorkFigures {
        work: work.name,
        unit: work.unit,
        cpu_microseconds: BTreeMap::new(),
    };
    for proxy in proxies {
        // This second of load warms up caches and connection pools, and is not counted.
        work.load(proxy.kind.port(), 1, site)
            .with_context(|| format!("the warm-up of {} failed", proxy.kind.name()))?;
    }
    for round in 0..arguments.rounds {
        eprintln!("{}: round {} of {}", work.name, round + 1, arguments.rounds);
        for turn in 0..proxies.len() {
            let proxy = &proxies[(turn + round as usize) % proxies.len()];
            let cost = cost(work, proxy, site, arguments.seconds)?;
            let samples = figures.cpu_microseconds.entry(proxy.kind).or_default();
            samples.push(cost);
        }
    }
    Ok(figures)
}

/// Puts a proxy under load, and returns its CPU time in microseconds per request or connection.
fn cost(work: &Work, proxy: &Proxy, site: &Site, seconds: u32) -> anyhow::Result<f64> {
    let before = cpu::of_tree(proxy.pid());
    let count = work
        .load(proxy.kind.port(), seconds, site)
        .with_context(|| format!("could not measure {}", proxy.kind.name()))?;
    let spent = cpu::of_tree(proxy.pid()).saturating_sub(before);
    if count == 0 || spent < Duration::from_millis(50) {
        bail!(
            "{} served {count} and used {spent:?} of CPU: too little to divide",
            proxy.kind.name()
        );
    }
    let count = u32::try_from(count).context("more requests than can be counted")?;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(count))
}

/// Returns the table that compares `lb` with other proxies.
fn beside_peers(works: &[WorkFigures]) -> Table<7> {
    let mut table = Table::new([
        Column::Left("HTTPS, TLS 1.3, P-256"),
        Column::Right("lb / nginx"),
        Column::Right("lb / HAProxy"),
        Column::Right("lb"),
        Column::Right("nginx"),
        Column::Right("HAProxy"),
        Column::Left("CPU µs a"),
    ]);
    for work in works {
        table.row([
            work.work.to_owned(),
            work.ratio(Kind::Lb, Kind::Nginx),
            work.ratio(Kind::Lb, Kind::HaProxy),
            work.cost(Kind::Lb),
            work.cost(Kind::Nginx),
            work.cost(Kind::HaProxy),
            work.unit.to_owned(),
        ]);
    }
    table
}

/// Returns the table that compares `lb` with an earlier build, and with itself while it writes an
/// access log.
fn beside_itself(works: &[WorkFigures]) -> Table<7> {
    let mut table = Table::new([
        Column::Left("HTTPS, TLS 1.3, P-256"),
        Column::Right("lb / before"),
        Column::Right("log on / lb"),
        Column::Right("lb"),
        Column::Right("before"),
        Column::Right("log on"),
        Column::Left("CPU µs a"),
    ]);
    for work in works {
        table.row([
            work.work.to_owned(),
            work.ratio(Kind::Lb, Kind::Before),
            work.ratio(Kind::Logged, Kind::Lb),
            work.cost(Kind::Lb),
            work.cost(Kind::Before),
            work.cost(Kind::Logged),
            work.unit.to_owned(),
        ]);
    }
    table
}

impl WorkFigures {
    /// Formats the median, over the rounds, of the ratio of one proxy's cost (CPU time per request
    /// or connection) to another's within a round; `-` if there are no rounds.
    fn ratio(&self, of: Kind, to: Kind) -> String {
        let samples = |kind| self.cpu_microseconds.get(&kind);
        let ratio = samples(of)
            .zip(samples(to))
            .and_then(|(of, to)| of.ratio_to(to));
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
    }

    /// Formats the median, over the rounds, of a proxy's cost (CPU time per request or connection);
    /// `-` if there are no rounds.
    fn cost(&self, kind: Kind) -> String {
        let median = self.cpu_microseconds.get(&kind).and_then(Samples::median);
        median.map_or_else(|| "-".to_owned(), |median| format!("{median:.1}"))
    }
}

fn print(figures: &Figures, kinds: &[Kind]) {
    if kinds.contains(&Kind::Nginx) || kinds.contains(&Kind::HaProxy) {
        println!("\n{}", beside_peers(&figures.works));
    }
    if kinds.contains(&Kind::Before) || kinds.contains(&Kind::Logged) {
        println!("\n{}", beside_itself(&figures.works));
    }
    println!("{}", figures.machine);
    for kind in kinds {
        println!("{}", figures.versions[kind]);
    }
    println!(
        "User and system time of the proxy's processes, divided by what was served: medians of {} \
         rounds of {} s, in each of which the proxies take turns; ratios are medians of each \
         round's. {} worker(s) each, access log off unless it says on, upstream keep-alive, four nginx behind on \
         loopback; wrk (32 connections), h2load (8 connections, 16 streams each) and openssl \
         s_time in front, all on this machine.",
        figures.rounds, figures.seconds, figures.workers
    );
}
