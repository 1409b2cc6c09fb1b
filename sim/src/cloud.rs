//! The holder of the Elastic IP according to the EC2 API, and its history.

use std::time::Duration;

use lb_ha::Time;

use crate::plan::Holder;

/// The simulated AWS account that the Elastic IP belongs to.
#[derive(Debug)]
pub struct Cloud {
    /// Every change of the holder of the Elastic IP, the oldest first; the list is never empty.
    history: Vec<(Time, Holder)>,
}

impl Cloud {
    /// Returns an account in which the Elastic IP has this holder from the start.
    #[must_use]
    pub fn new(holder: Holder) -> Self {
        Self {
            history: vec![(Time::default(), holder)],
        }
    }

    /// Returns the present holder of the Elastic IP.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.history[self.history.len() - 1].1
    }

    /// Returns the holder that the Elastic IP had `ago` before `now`.
    #[must_use]
    pub fn held(&self, now: Time, ago: Duration) -> Holder {
        let then = now - ago;
        let known = self.history.iter().rev().find(|(since, _)| *since <= then);
        known.map_or(self.history[0].1, |(_, holder)| *holder)
    }

    /// Moves the Elastic IP to this holder. Returns whether the holder has changed.
    pub fn give(&mut self, now: Time, holder: Holder) -> bool {
        let moved = self.holder() != holder;
        if moved {
            self.history.push((now, holder));
        }
        moved
    }
}
