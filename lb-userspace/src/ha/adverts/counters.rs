//! Counters of adverts.

use std::collections::BTreeMap;

use lb_ha::advert::Refusal;

/// Numbers of adverts sent, received and refused since the socket was first opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counters {
    /// Adverts that the kernel accepted for sending.
    pub sent: u64,
    /// Adverts that the kernel refused to send.
    pub send_errors: u64,
    /// Adverts of our virtual router that were received and passed on.
    pub received: u64,
    /// Refused packets, by the words of [`Refusal::word`]; every word has an entry.
    pub refused: BTreeMap<&'static str, u64>,
    /// Valid adverts that were dropped because the agent was too far behind.
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
    /// Returns the number of all refused packets.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.word()).or_default() += 1;
    }
}
