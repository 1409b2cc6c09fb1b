//! What is counted of the calls.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{ApiError, ErrorKind, Operation};

/// Upper bounds of the buckets of [`Durations`], in seconds; what took longer is in one more.
pub const DURATION_BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What was counted since the start. Calls that only ask for permission (`DryRun`) are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Calls that ended, by what came of them.
    pub calls: Vec<CallCount>,
    /// How long calls took.
    pub durations: Vec<OperationDurations>,
    /// The last failure, of a call or on the way to the first.
    pub last_error: Option<LastError>,
}

/// Calls that ended the same way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallCount {
    /// The action.
    pub operation: Operation,
    /// `ok`, or the failure's [`ErrorKind::name`].
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// How long the calls of one action took.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationDurations {
    /// The action.
    pub operation: Operation,
    /// How long.
    pub durations: Durations,
}

/// How long calls took, from their start to their answer or failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Calls by bucket: one for each of [`DURATION_BOUNDS`], and one for longer ones. Not
    /// cumulative.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    /// The sum of all, in seconds.
    pub sum: f64,
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }
}

/// A failure that a person may want to know of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What.
    pub error: ApiError,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    calls: BTreeMap<(Operation, Option<ErrorKind>), u64>,
    durations: BTreeMap<Operation, Durations>,
    last_error: Option<LastError>,
}

impl Recorder {
    /// A call ended.
    pub(super) fn ended<T>(
        &self,
        operation: Operation,
        took: Duration,
        result: &Result<T, ApiError>,
    ) {
        let mut records = self.records();
        let failure = result.as_ref().err().map(|error| error.kind);
        *records.calls.entry((operation, failure)).or_default() += 1;
        records.durations.entry(operation).or_default().add(took);
        drop(records);
        if let Err(error) = result {
            self.failed(error);
        }
    }

    /// Something failed, be it no call.
    pub(super) fn failed(&self, error: &ApiError) {
        self.records().last_error = Some(LastError {
            at: SystemTime::now(),
            error: error.clone(),
        });
    }

    pub(super) fn counters(&self) -> Counters {
        let records = self.records();
        let calls = records.calls.iter();
        let durations = records.durations.iter();
        Counters {
            calls: calls
                .map(|((operation, failure), count)| CallCount {
                    operation: *operation,
                    outcome: failure.map_or("ok", ErrorKind::name),
                    count: *count,
                })
                .collect(),
            durations: durations
                .map(|(operation, durations)| OperationDurations {
                    operation: *operation,
                    durations: durations.clone(),
                })
                .collect(),
            last_error: records.last_error.clone(),
        }
    }

    /// Whoever panicked while holding the lock had made its change whole.
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_outcome_and_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let recorder = Recorder::default();
        let describe = Operation::DescribeAddresses;
        let failure = ApiError::new(ErrorKind::Throttled, "too many".to_owned());
        recorder.ended(describe, Duration::from_millis(5), &Ok(()));
        recorder.ended(describe, Duration::from_millis(6), &Ok(()));
        recorder.ended::<()>(describe, Duration::from_secs(11), &Err(failure.clone()));
        let counters = recorder.counters();
        let calls: Vec<_> = counters
            .calls
            .iter()
            .map(|call| (call.outcome, call.count))
            .collect();
        assert_eq!(calls, [("ok", 2), ("throttled", 1)]);
        let durations = &counters.durations[0].durations;
        assert_eq!(durations.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((durations.sum - 11.011).abs() < 1e-9, "{}", durations.sum);
        assert_eq!(counters.last_error.map(|last| last.error), Some(failure));
    }
}
