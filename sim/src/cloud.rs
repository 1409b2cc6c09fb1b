//! The owner of the address at the EC2 API, and its history.

use std::time::Duration;

use lb_ha::Time;

use crate::plan::Holder;

/// The account with the address.
#[derive(Debug)]
pub struct Cloud {
    /// Every change of the holder, the oldest first; there is at least one.
    history: Vec<(Time, Holder)>,
}

impl Cloud {
    /// Returns an account whose address has this holder.
    #[must_use]
    pub fn new(holder: Holder) -> Self {
        Self {
            history: vec![(Time::default(), holder)],
        }
    }

    /// Returns the holder of the address.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.history[self.history.len() - 1].1
    }

    /// Returns the holder of the address at an earlier time.
    #[must_use]
    pub fn held(&self, now: Time, ago: Duration) -> Holder {
        let then = now - ago;
        let known = self.history.iter().rev().find(|(since, _)| *since <= then);
        known.map_or(self.history[0].1, |(_, holder)| *holder)
    }

    /// Moves the address. Returns whether the holder has changed.
    pub fn give(&mut self, now: Time, holder: Holder) -> bool {
        let moved = self.holder() != holder;
        if moved {
            self.history.push((now, holder));
        }
        moved
    }
}
