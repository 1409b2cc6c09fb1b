//! The benchmark of a SYN flood's effect on other clients.

use std::{fs, time::Duration};

use anyhow::Result;
use lab::flood::{Outcome, Scenario};
use serde_json::{Value, json};

/// Runs the scenario of a SYN flood once and prints the results as JSON.
///
/// # Errors
/// When the scenario cannot be run. Losses during the flood are part of the results.
pub(crate) fn run(scenario: &Scenario) -> Result<()> {
    eprintln!(
        "{} connections established, {} new ones per second, then a flood of {:?}",
        scenario.established, scenario.honest, scenario.lasts
    );
    let before = dropped()?;
    let outcome = scenario.play()?;
    println!("{:#}", figures(&outcome, dropped()? - before));
    Ok(())
}

/// Returns the number of packets that the kernel dropped since the machine started because a CPU's
/// queue between two network namespaces was full: the second column of `/proc/net/softnet_stat`, in
/// hexadecimal (net/core/net-procfs.c).
fn dropped() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/softnet_stat")?;
    let columns = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    columns
        .map(|count| Ok(u64::from_str_radix(count, 16)?))
        .sum()
}

fn figures(outcome: &Outcome, dropped: u64) -> Value {
    let verdicts = outcome.verdicts.iter();
    let verdicts = verdicts.map(|((verdict, reason), packets)| {
        json!({ "verdict": verdict, "reason": reason, "packets": packets })
    });
    let milliseconds = |span: Duration| span.as_micros() as f64 / 1e3;
    json!({
        "flood": {
            "packets": outcome.flood.frames,
            "seconds": outcome.flood.lasted.as_secs_f64(),
        },
        "established": {
            "connections": outcome.established.connections,
            "answers": outcome.established.answers,
            "lost": outcome.established.lost,
        },
        "honest": {
            "answered": outcome.honest.answers.len(),
            "slowest_milliseconds": milliseconds(outcome.honest.longest()),
            "failed": outcome.honest.why_failed(),
        },
        "dropped_by_the_lab": dropped,
        "received": outcome.received,
        "unexplained": outcome.unexplained(),
        "verdicts": Value::Array(verdicts.collect()),
    })
}
