//! A sequence of timed steps, such as checks and tests, with a summary at its end.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::table::{Column, Table};

/// The steps, such as checks and tests, that were run or skipped so far, with their outcomes and
/// times.
#[derive(Default)]
pub(crate) struct Steps {
    taken: Vec<Step>,
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

impl Steps {
    /// Runs a step, such as a check or a test, and prints its name and its outcome. Returns whether
    /// the step passed.
    pub(crate) fn take(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> anyhow::Result<()>,
    ) -> bool {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        let took = start.elapsed();
        let passed = result.is_ok();
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("error: {error:#}");
                Outcome::Failed
            }
        };
        println!("=== {name}: {outcome} after {:.1} s", took.as_secs_f64());
        self.taken.push(Step {
            name,
            outcome,
            took,
        });
        passed
    }

    /// Records that a step, such as a check or a test, is skipped, and prints why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &'static str) {
        println!("\n=== {name}: skipped: {why}");
        self.taken.push(Step {
            name,
            outcome: Outcome::Skipped(why),
            took: Duration::ZERO,
        });
    }

    /// Prints a table of all steps with their outcomes and times.
    ///
    /// # Errors
    /// A step failed.
    pub(crate) fn sum_up(self) -> anyhow::Result<()> {
        let mut table = Table::new([
            Column::Left("step"),
            Column::Right("seconds"),
            Column::Left("outcome"),
        ]);
        for step in &self.taken {
            table.row([
                step.name.to_owned(),
                format!("{:.1}", step.took.as_secs_f64()),
                step.outcome.to_string(),
            ]);
        }
        let total: Duration = self.taken.iter().map(|step| step.took).sum();
        println!("\n{table}\n  {:.0} seconds in total", total.as_secs_f64());
        let failed: Vec<_> = self
            .taken
            .iter()
            .filter(|step| matches!(step.outcome, Outcome::Failed))
            .map(|step| step.name)
            .collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("FAILED"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_whole() {
        let mut steps = Steps::default();
        assert!(steps.take("first", || Ok(())));
        assert!(!steps.take("second", || bail!("it broke")));
        steps.skip("third", "no reason");
        let error = steps.sum_up().expect_err("the second step failed");
        assert_eq!(error.to_string(), "failed: second");
    }

    #[test]
    fn a_skipped_step_fails_nothing() {
        let mut steps = Steps::default();
        steps.skip("only", "no reason");
        assert!(steps.sum_up().is_ok());
    }
}
