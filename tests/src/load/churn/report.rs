//! Results of a load of short connections, and their evaluation.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Error, Result, bail};

/// Results of a load of short connections, each of which is counted as answered or as failed.
#[derive(Clone, Debug, Default)]
pub struct ChurnReport {
    /// Number of answered connections in each second of the load, by the time at which they ended.
    pub per_second: Vec<u64>,
    /// Time from the SYN to the last byte of the response of each answered connection, in
    /// microseconds, in the order in which they ended.
    pub microseconds: Vec<u32>,
    /// Number of failed connections by reason.
    pub failures: BTreeMap<String, u64>,
}

impl ChurnReport {
    /// Returns the number of connections that were answered.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.per_second.iter().sum()
    }

    /// Returns the number of connections that failed.
    #[must_use]
    pub fn failed_connections(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns the quantile `part` (0 to 1) of the times of answered connections; `None` if none
    /// was answered.
    #[must_use]
    pub fn percentile(&self, part: f64) -> Option<Duration> {
        let mut sorted = self.microseconds.clone();
        let rank = (part * sorted.len() as f64) as usize;
        let rank = rank.min(sorted.len().checked_sub(1)?);
        let (_, found, _) = sorted.select_nth_unstable(rank);
        Some(Duration::from_micros(u64::from(*found)))
    }

    /// Checks that every connection was answered.
    ///
    /// # Errors
    /// When a connection failed; the error contains the number of failures and their reasons.
    pub fn all_answered(&self) -> Result<()> {
        let failed = self.failed_connections();
        if failed == 0 {
            return Ok(());
        }
        bail!(
            "{failed} of {} connections failed: {:?}",
            failed + self.answers(),
            self.failures
        )
    }

    pub(super) fn answered(&mut self, at: Duration, took: Duration) {
        let second = at.as_secs() as usize;
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
        self.microseconds
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn failed(&mut self, error: &Error) {
        *self.failures.entry(format!("{error:#}")).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_in_the_second_in_which_they_ended() {
        let mut report = ChurnReport::default();
        for millisecond in [10, 990, 2_000] {
            report.answered(
                Duration::from_millis(millisecond),
                Duration::from_micros(millisecond),
            );
        }
        assert_eq!(report.per_second, [2, 0, 1]);
        assert_eq!(report.answers(), 3);
        assert_eq!(report.percentile(0.5), Some(Duration::from_micros(990)));
        assert_eq!(report.percentile(1.0), Some(Duration::from_micros(2_000)));
        assert_eq!(ChurnReport::default().percentile(0.5), None);
    }

    #[test]
    fn failures_are_counted_by_reason() {
        let mut report = ChurnReport::default();
        assert!(report.all_answered().is_ok());
        report.failed(&anyhow::anyhow!("refused"));
        report.failed(&anyhow::anyhow!("refused"));
        assert_eq!(report.failures["refused"], 2);
        assert!(report.all_answered().is_err());
    }
}
