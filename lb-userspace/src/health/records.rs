//! The results of the health checks of all backends.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use lb_ha::streak::Streak;

use super::{Checked, Failure, checks::checked_backends};
use crate::{config::Pool, pool::BackendKey};

/// Number of checks of each backend whose results are kept.
const RECENT: usize = 40;

/// Results of the checks of all backends.
#[derive(Clone, Debug, Default)]
pub struct Records(HashMap<BackendKey, Record>);

#[derive(Clone, Debug)]
struct Record {
    streak: Streak,
    last: Option<LastCheck>,
    /// Durations of the most recent checks, the oldest first; `None` for a check that failed.
    recent: VecDeque<Option<Duration>>,
}

/// The last health check of a backend.
#[derive(Clone, Debug)]
pub struct LastCheck {
    /// When the health check ended.
    pub at: SystemTime,
    /// How long the health check took.
    pub duration: Duration,
    /// Why the health check failed; `None` if it succeeded.
    pub failure: Option<Failure>,
}

impl Records {
    /// Returns the records of the backends of these pools. A new backend counts as healthy if the
    /// function `healthy` says so; a backend whose limits `rise` and `fall` are unchanged keeps its
    /// history.
    #[must_use]
    pub fn renewed(&self, pools: &[Arc<Pool>], healthy: impl Fn(&BackendKey) -> bool) -> Self {
        let records = checked_backends(pools).into_iter().map(|(id, check)| {
            let known = self.0.get(&id);
            let counting = known.map(|known| &known.streak);
            let record = Record {
                streak: match counting.filter(|streak| streak.has_limits(check.rise, check.fall)) {
                    Some(streak) => streak.clone(),
                    None => Streak::new(check.rise, check.fall, healthy(&id)),
                },
                last: known.and_then(|known| known.last.clone()),
                recent: known.map(|known| known.recent.clone()).unwrap_or_default(),
            };
            (id, record)
        });
        Self(records.collect())
    }

    /// Records the outcome of a check. Returns the backend's health if this check changed it, and
    /// `None` if not. The outcome is ignored if the backend was removed.
    pub fn record(&mut self, checked: Checked, now: SystemTime) -> Option<bool> {
        let record = self.0.get_mut(&checked.backend)?;
        let turned = record.streak.step(checked.outcome.is_ok());
        if record.recent.len() == RECENT {
            record.recent.pop_front();
        }
        let healthy = checked.outcome.is_ok();
        record.recent.push_back(healthy.then_some(checked.duration));
        record.last = Some(LastCheck {
            at: now,
            duration: checked.duration,
            failure: checked.outcome.err(),
        });
        turned
    }

    /// Returns the last check of a backend; `None` before its first check, and if it has no check.
    #[must_use]
    pub fn last(&self, id: &BackendKey) -> Option<&LastCheck> {
        self.0.get(id)?.last.as_ref()
    }

    /// Returns the durations of a backend's most recent checks, at most 40, the oldest first;
    /// `None` for a check that failed.
    pub fn recent(&self, id: &BackendKey) -> impl Iterator<Item = Option<Duration>> {
        let record = self.0.get(id);
        record
            .into_iter()
            .flat_map(|record| record.recent.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Balance, Check, CheckKind, Name, Weight, WhenAllDown};

    fn pools(fall: u32) -> [Arc<Pool>; 1] {
        [Arc::new(Pool {
            name: Name::parse("web").expect("a name"),
            balance: Balance::RoundRobin,
            check: Some(Check {
                kind: CheckKind::Tcp,
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                rise: 2,
                fall,
            }),
            when_all_down: WhenAllDown::TryAll,
            retries: 3,
            per_request: crate::config::PerRequest::default(),
            backends: vec![Backend {
                name: Name::parse("web1").expect("a name"),
                address: web1().address,
                weight: Weight::ONE,
                backup: false,
                leaving: false,
            }],
            discover: None,
        })]
    }

    fn web1() -> BackendKey {
        BackendKey {
            pool: Name::parse("web").expect("a name"),
            address: "10.0.0.6:80".parse().expect("an address"),
        }
    }

    fn outcome(outcome: Result<(), Failure>) -> Checked {
        Checked {
            backend: web1(),
            duration: Duration::from_millis(3),
            outcome,
        }
    }

    fn records(fall: u32) -> Records {
        Records::default().renewed(&pools(fall), |_| true)
    }

    #[test]
    fn the_last_check_is_remembered_with_its_failure() {
        let mut records = records(2);
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(records.record(outcome(Ok(())), now), None);
        assert!(
            records
                .last(&web1())
                .is_some_and(|last| last.failure.is_none())
        );
        assert_eq!(records.record(outcome(Err(Failure::Refused)), now), None);
        let last = records.last(&web1()).expect("a check");
        assert_eq!(last.failure, Some(Failure::Refused));
        assert_eq!(last.duration, Duration::from_millis(3));
    }

    #[test]
    fn the_recent_checks_are_kept_over_a_reload_and_bounded() {
        let mut records = records(2);
        let now = SystemTime::UNIX_EPOCH;
        records.record(outcome(Err(Failure::Refused)), now);
        records.record(outcome(Ok(())), now);
        let renewed = records.renewed(&pools(2), |_| true);
        let recent: Vec<_> = renewed.recent(&web1()).collect();
        assert_eq!(recent, [None, Some(Duration::from_millis(3))]);

        for _ in 0..RECENT - 1 {
            records.record(outcome(Ok(())), now);
        }
        assert_eq!(records.recent(&web1()).count(), RECENT);
        assert!(records.recent(&web1()).all(|check| check.is_some()));
    }

    #[test]
    fn a_reload_keeps_the_count_of_failures() {
        let mut records = records(2);
        let now = SystemTime::UNIX_EPOCH;
        records.record(outcome(Ok(())), now);
        records.record(outcome(Err(Failure::Refused)), now);
        let mut renewed = records.renewed(&pools(2), |_| true);
        let turned = renewed.record(outcome(Err(Failure::Refused)), now);
        assert_eq!(turned, Some(false));
    }

    #[test]
    fn an_outcome_for_a_backend_that_has_gone_is_forgotten() {
        let mut records = Records::default();
        let turned = records.record(outcome(Err(Failure::Refused)), SystemTime::UNIX_EPOCH);
        assert_eq!(turned, None);
        assert!(records.last(&web1()).is_none());
    }
}
