//! A flood of SYN segments does not affect other clients.

use std::time::Duration;

use anyhow::Result;
use lab::{effort, flood::Scenario};

#[test]
fn a_syn_flood_costs_no_established_connection_and_no_honest_client() -> Result<()> {
    let scenario = Scenario {
        established: effort(1_000, 10_000),
        period: Duration::from_secs(5),
        honest: 200,
        lasts: effort(Duration::from_secs(10), Duration::from_secs(60)),
        rate: effort(Some(20_000), None),
    };
    let outcome = scenario.play()?;
    println!(
        "the flood: {:.0} packets per second, {:?}; established: {:?}; honest: {} answered, the \
         slowest after {:?}, {} not: {:?}; {} packets received, {} of them unexplained: {:#?}",
        outcome.rate(),
        outcome.flood,
        outcome.established,
        outcome.honest.answers.len(),
        outcome.honest.longest(),
        outcome.honest.failures.len(),
        outcome.honest.why_failed(),
        outcome.received,
        outcome.unexplained(),
        outcome.verdicts,
    );
    outcome.is_as_promised()
}
