//! Decides when the source of a pool is asked next, without I/O and without a clock.

use std::time::Duration;

use super::{Answer, SourceError};

/// The shortest time from one query to the next, whatever the TTL.
const SHORTEST: Duration = Duration::from_secs(1);

/// When the source of a pool is asked next.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    /// Number of queries in a row that failed or found no backends.
    failures: u32,
}

impl Schedule {
    /// Returns the schedule of a source that is asked at least once in each `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            failures: 0,
        }
    }

    /// Returns how long to wait after a query with this outcome: for the TTL, at least a second and
    /// at most the interval, or for the interval if there is no TTL. After a failure, or an answer
    /// without backends, the wait is a second; it doubles with each further one, up to the
    /// interval.
    pub fn after(&mut self, outcome: &Result<Answer, SourceError>) -> Duration {
        let wait = match outcome {
            Ok(answer) if !answer.backends.is_empty() => {
                self.failures = 0;
                answer.valid_for.unwrap_or(self.interval)
            }
            _ => {
                let wait = SHORTEST.saturating_mul(2_u32.saturating_pow(self.failures));
                self.failures = self.failures.saturating_add(1);
                wait
            }
        };
        wait.min(self.interval).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{super::ListedBackend, *};

    const INTERVAL: Duration = Duration::from_secs(10);

    fn answer(valid_for: Option<u64>) -> Answer {
        let address = SocketAddr::from(([10, 0, 0, 6], 80));
        Answer {
            backends: vec![ListedBackend::at(address)],
            valid_for: valid_for.map(Duration::from_secs),
        }
    }

    fn waits(outcomes: &[Result<Answer, SourceError>]) -> Vec<u64> {
        let mut schedule = Schedule::new(INTERVAL);
        let waits = outcomes.iter().map(|outcome| schedule.after(outcome));
        waits.map(|wait| wait.as_secs()).collect()
    }

    #[test]
    fn the_ttl_decides_within_a_second_and_the_interval() {
        let outcomes = [
            Ok(answer(Some(5))),
            Ok(answer(Some(0))),
            Ok(answer(Some(300))),
            Ok(answer(None)),
        ];
        assert_eq!(waits(&outcomes), [5, 1, 10, 10]);
    }

    #[test]
    fn a_source_that_fails_is_asked_after_a_second_and_then_less_and_less_often() {
        let failed = || Err(SourceError("no answer".to_owned()));
        let nothing = || Ok(Answer::default());
        let outcomes = [failed(), nothing(), failed(), failed(), failed(), failed()];
        assert_eq!(waits(&outcomes), [1, 2, 4, 8, 10, 10]);
        let outcomes = [failed(), failed(), Ok(answer(None)), failed()];
        assert_eq!(
            waits(&outcomes),
            [1, 2, 10, 1],
            "an answer resets the delay"
        );
    }

    #[test]
    fn a_source_that_fails_for_ever_is_asked_for_ever() {
        let mut schedule = Schedule::new(INTERVAL);
        let failed = Err(SourceError("no answer".to_owned()));
        let last = (0..100_000).map(|_| schedule.after(&failed)).last();
        assert_eq!(last, Some(INTERVAL));
    }
}
