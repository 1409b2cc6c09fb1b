//! Counts the calls to the EC2 API.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{ApiError, ErrorKind, Operation};

/// Upper bounds of the buckets of [`Durations`], in seconds. Durations above the last bound are in
/// one more bucket.
pub const DURATION_BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Counters of EC2 API calls since the agent started. Calls that only check permissions (`DryRun`)
/// are not counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Number of completed calls to the EC2 API, by action and outcome.
    pub calls: Vec<CallCount>,
    /// Durations of completed calls to the EC2 API, by action.
    pub durations: Vec<OperationDurations>,
    /// The last failure, of a call to the EC2 API or of the preparations for the first call; `None`
    /// if there was none.
    pub last_error: Option<LastError>,
}

/// The number of calls of one action of the EC2 API that had one outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallCount {
    /// The action of the EC2 API that was called.
    pub operation: Operation,
    /// The outcome: `ok`, or the failure's [`ErrorKind::name`].
    pub outcome: &'static str,
    /// Number of calls to the EC2 API with this outcome.
    pub count: u64,
}

/// The durations of the calls of one action of the EC2 API.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationDurations {
    /// The action of the EC2 API that was called.
    pub operation: Operation,
    /// How long the calls of this action took.
    pub durations: Durations,
}

/// Durations of calls to the EC2 API, each from its start to its answer or failure, as a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Number of calls in each bucket of [`DURATION_BOUNDS`], and last of those with longer
    /// durations. The numbers are not cumulative.
    pub buckets: [u64; DURATION_BOUNDS.len() + 1],
    /// Sum of the durations of all calls, in seconds.
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

/// The last failure of an EC2 API call, or of the preparations for the first one. It is shown to
/// operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastError {
    /// When the call to the EC2 API, or the preparation for the first one, failed.
    pub at: SystemTime,
    /// The error of the call to the EC2 API, or of the preparation for the first one.
    pub error: ApiError,
}

/// Counts and times the EC2 API calls while they are made.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    calls: BTreeMap<(Operation, Option<ErrorKind>), u64>,
    durations: BTreeMap<Operation, Durations>,
    last_error: Option<LastError>,
}

impl Recorder {
    /// Records that a call to the EC2 API has ended, how long it took and whether it succeeded.
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

    /// Records a failure of a call to the EC2 API, or of the preparations for such calls, as the
    /// last failure.
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

    /// Locks the records of the calls, which are consistent even if a thread panicked while it held
    /// the lock.
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
