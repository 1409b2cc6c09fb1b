//! The EC2 API's side: whose the address is, and whose it was.

use std::time::Duration;

use lb_ha::Time;

use crate::plan::Holder;

/// The account that has the address.
#[derive(Debug)]
pub struct Cloud {
    /// Every change, the oldest first; there is at least one.
    history: Vec<(Time, Holder)>,
}

impl Cloud {
    /// An account whose address belongs to somebody.
    #[must_use]
    pub fn new(holder: Holder) -> Self {
        Self {
            history: vec![(Time::default(), holder)],
        }
    }

    /// Who has the address.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.history[self.history.len() - 1].1
    }

    /// Who had the address this long ago.
    #[must_use]
    pub fn held(&self, now: Time, ago: Duration) -> Holder {
        let then = now - ago;
        let known = self.history.iter().rev().find(|(since, _)| *since <= then);
        known.map_or(self.history[0].1, |(_, holder)| *holder)
    }

    /// Moves the address; whether that changed anything.
    pub fn give(&mut self, now: Time, holder: Holder) -> bool {
        let moved = self.holder() != holder;
        if moved {
            self.history.push((now, holder));
        }
        moved
    }
}
