//! What a SYN flood takes from everybody else.

use std::time::Duration;

use anyhow::Result;
use lab::flood::{Outcome, Scenario};
use serde_json::{Value, json};

/// Plays the scenario once and prints what came of it as JSON.
///
/// # Errors
/// When it cannot be played. What was lost in the flood is in the figures.
pub(crate) fn run(scenario: &Scenario) -> Result<()> {
    eprintln!(
        "{} connections established, {} new ones a second, then a flood of {:?}",
        scenario.established, scenario.honest, scenario.lasts
    );
    println!("{:#}", figures(&scenario.play()?));
    Ok(())
}

fn figures(outcome: &Outcome) -> Value {
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
        "received": outcome.received,
        "unexplained": outcome.unexplained(),
        "verdicts": Value::Array(verdicts.collect()),
    })
}
