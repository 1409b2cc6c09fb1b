//! `lb-sim`: runs the simulation with many seeds, or with one seed and a trace.

#![forbid(unsafe_code)]

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use sim::{
    draw,
    figures::Figures,
    run::{self, Outcome},
};

/// Runs the pair's state machines in a simulated world.
#[derive(Parser)]
struct Arguments {
    /// How many runs
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The seed of the first run
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One run, with a trace of all that happens
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// Number of failed runs after which no more runs are started.
const ENOUGH: usize = 20;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sound = match arguments.seed {
        Some(seed) => one(seed),
        None => many(arguments.from, arguments.seeds),
    };
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64) -> bool {
    let plan = draw::plan(seed);
    println!("{plan:#?}");
    let outcome = run::run(&plan, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("{}", outcome.figures);
    if let Some(violation) = &outcome.violation {
        let at = violation.at.since(lb_ha::Time::default()).as_secs_f64();
        println!("seed {seed} fails at {at:.6} s: {}", violation.what);
    }
    outcome.violation.is_none()
}

/// The runs to be done, and their results so far, which all threads share.
struct Work {
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    enough: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    figures: Figures,
    failed: Vec<(u64, String)>,
}

fn many(from: u64, count: u64) -> bool {
    let start = Instant::now();
    let work = Work {
        next: AtomicU64::new(from),
        end: from.saturating_add(count),
        done: AtomicU64::new(0),
        enough: AtomicBool::new(false),
        seen: Mutex::default(),
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(|| labour(&work))).collect();
        if std::io::stdout().is_terminal() {
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                show_progress(&work, count);
                thread::sleep(Duration::from_millis(200));
            }
            print!("\r\x1b[K");
        }
    });
    let mut seen = work
        .seen
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    println!(
        "{}took {:>22.1} s",
        seen.figures,
        start.elapsed().as_secs_f64()
    );
    seen.failed.sort_unstable();
    for (seed, what) in &seen.failed {
        println!("seed {seed} FAILED: {what}");
        println!("  its trace: cargo xtask sim --seed {seed}");
    }
    seen.failed.is_empty()
}

fn show_progress(work: &Work, count: u64) {
    let done = work.done.load(Ordering::Relaxed);
    print!("\r{done} of {count} runs");
    // A failure to print the progress is ignored, so that the runs continue.
    let _shown = std::io::stdout().flush();
}

/// Runs the simulation of one seed after another, until no more are left or enough runs have
/// failed.
fn labour(work: &Work) {
    let mut figures = Figures::default();
    while !work.enough.load(Ordering::Relaxed) {
        let seed = work.next.fetch_add(1, Ordering::Relaxed);
        if seed >= work.end {
            break;
        }
        let Outcome {
            figures: seen,
            violation,
            ..
        } = run::run(&draw::plan(seed), false);
        figures.add(&seen);
        work.done.fetch_add(1, Ordering::Relaxed);
        if let Some(violation) = violation {
            note_failure(work, seed, violation.what);
        }
    }
    if let Ok(mut seen) = work.seen.lock() {
        seen.figures.add(&figures);
    }
}

fn note_failure(work: &Work, seed: u64, what: String) {
    if let Ok(mut seen) = work.seen.lock() {
        seen.failed.push((seed, what));
        if seen.failed.len() >= ENOUGH {
            work.enough.store(true, Ordering::Relaxed);
        }
    }
}
