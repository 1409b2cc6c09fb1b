//! Counters of VRRP adverts.

use std::collections::BTreeMap;

use lb_ha::advert::Refusal;

/// Numbers of adverts sent, received and refused since the agent started to send and receive them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counters {
    /// Number of adverts that the kernel accepted for sending.
    pub sent: u64,
    /// Number of adverts that the kernel refused to send.
    pub send_errors: u64,
    /// Valid adverts of this host's virtual router that were received and passed on to the pair
    /// thread.
    pub received: u64,
    /// Numbers of refused packets, by the reason that [`Refusal::word`] returns; every reason has
    /// an entry.
    pub refused: BTreeMap<&'static str, u64>,
    /// Valid adverts that were dropped because the pair thread was too far behind to take them.
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
    /// Returns the number of refused packets of all reasons together.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        *self.refused.entry(refusal.word()).or_default() += 1;
    }
}
