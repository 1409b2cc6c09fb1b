//! Rise and fall: how many equal outcomes in a row change the health of a checked object.

/// The health of a checked object (a backend, a script or a listener), by the outcomes of its
/// checks.
///
/// The first outcome after a start decides alone, as in HAProxy: a backend that is assumed healthy
/// falls with its first failure, and one that an earlier agent left as unhealthy rises with its
/// first success. From then on it takes `fall` failures or `rise` successes in a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Streak {
    rise: u32,
    fall: u32,
    healthy: bool,
    /// Number of outcomes in a row that contradict the current health.
    against: u32,
    is_first: bool,
}

impl Streak {
    /// Returns the streak of an object that is assumed to be `healthy` or not until its first
    /// check. `rise` and `fall` are at least 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32, healthy: bool) -> Self {
        Self {
            rise,
            fall,
            healthy,
            against: 0,
            is_first: true,
        }
    }

    /// Records the outcome of one check. Returns the new health if it changed, otherwise `None`.
    pub fn step(&mut self, success: bool) -> Option<bool> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if success == self.healthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.healthy { self.fall } else { self.rise };
        if self.against < needed && !is_first {
            return None;
        }
        self.against = 0;
        self.healthy = success;
        Some(success)
    }

    /// Whether `rise` and `fall` are the limits that this streak uses.
    #[must_use]
    pub fn has_limits(&self, rise: u32, fall: u32) -> bool {
        (self.rise, self.fall) == (rise, fall)
    }

    /// Whether no outcome of a check has been recorded yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_first
    }

    /// Whether the checked object is healthy.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(streak: &mut Streak, outcomes: &[bool]) -> Vec<Option<bool>> {
        let steps = outcomes.iter().map(|success| streak.step(*success));
        steps.collect()
    }

    #[test]
    fn fall_failures_in_a_row_take_it_down() {
        let mut streak = Streak::new(2, 3, true);
        let found = turns(&mut streak, &[true, false, false, false, false]);
        assert_eq!(found, [None, None, None, Some(false), None]);
    }

    #[test]
    fn a_success_between_failures_restarts_the_count() {
        let mut streak = Streak::new(2, 3, true);
        let found = turns(&mut streak, &[true, false, false, true, false, false]);
        assert_eq!(found, [None; 6]);
    }

    #[test]
    fn rise_successes_in_a_row_bring_it_up() {
        let mut streak = Streak::new(2, 3, false);
        let found = turns(&mut streak, &[false, true, false, true, true]);
        assert_eq!(found, [None, None, None, None, Some(true)]);
    }

    #[test]
    fn the_first_outcome_decides_alone() {
        assert_eq!(Streak::new(2, 3, true).step(false), Some(false));
        assert_eq!(Streak::new(2, 3, false).step(true), Some(true));
    }

    proptest! {
        /// The definition of health in other terms: after the first outcome, health changes exactly
        /// when the last `rise` or `fall` outcomes since its last change all contradict it.
        #[test]
        fn health_turns_exactly_when_the_last_outcomes_agree(
            rise in 1_u32..6,
            fall in 1_u32..6,
            begin in any::<bool>(),
            outcomes in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut streak = Streak::new(rise, fall, begin);
            let mut healthy = begin;
            let mut since_turn: Vec<bool> = Vec::new();
            for (index, success) in outcomes.into_iter().enumerate() {
                since_turn.push(success);
                let needed = match (index, healthy) {
                    (0, _) => 1,
                    (_, true) => fall as usize,
                    (_, false) => rise as usize,
                };
                let last = since_turn.iter().rev().take(needed);
                let turns = since_turn.len() >= needed && last.clone().all(|one| *one != healthy);
                prop_assert_eq!(streak.step(success), turns.then_some(!healthy));
                if turns {
                    healthy = !healthy;
                    since_turn.clear();
                }
                prop_assert_eq!(streak.is_healthy(), healthy);
            }
        }
    }
}
