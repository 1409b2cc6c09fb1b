//! What happened to adverts.

use std::collections::BTreeMap;

use lb_ha::advert::Refusal;

/// What has been sent, heard and refused since the socket was opened first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counters {
    /// Adverts that the kernel took.
    pub sent: u64,
    /// Adverts that it did not take.
    pub send_errors: u64,
    /// Adverts of our virtual router that were heard and handed on.
    pub received: u64,
    /// Packets that were not, by the words of [`Refusal::word`]; every word is there.
    pub refused: BTreeMap<&'static str, u64>,
    /// Adverts that nothing was wrong with, dropped because the agent was too far behind.
    pub overrun: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sent: 0,
            send_errors: 0,
            received: 0,
            refused: Refusal::WORDS.map(|word| (word, 0)).into(),
            overrun: 0,
        }
    }
}

impl Counters {
    /// All refused packets.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.word()).or_default() += 1;
    }
}
