//! The present conditions of the network and the EC2 API.

use std::time::Duration;

use crate::plan::{Side, Trouble, What};

/// Shortest and longest one-way delay of a healthy network.
const NEAR: (Duration, Duration) = (Duration::from_micros(80), Duration::from_micros(900));
/// Longest duration of a call of a healthy EC2 API.
pub const PROMPT: Duration = Duration::from_millis(120);

/// The effect of all present troubles.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Whether the adverts of A, and those of B, are lost.
    pub adverts_cut: [bool; 2],
    /// Whether what A, and what B, sends over the link is held up.
    pub link_cut: [bool; 2],
    /// Percentage of adverts that are lost.
    pub loss: u8,
    /// Percentage of adverts that arrive twice.
    pub duplicates: u8,
    /// Shortest and longest one-way delay.
    pub way: (Duration, Duration),
    /// The EC2 API as A finds it, and as B finds it.
    pub api: [Api; 2],
}

/// The EC2 API as one host finds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Api {
    /// Whether it can be reached at all.
    pub reachable: bool,
    /// Shortest and longest duration of a call.
    pub takes: (Duration, Duration),
    /// Largest age of a description.
    pub stale: Duration,
    /// Percentage of calls that are throttled.
    pub throttled: u8,
    /// Percentage of calls that fail.
    pub failing: u8,
}

impl Api {
    /// A healthy API.
    pub const HEALTHY: Self = Self {
        reachable: true,
        takes: (Duration::from_millis(15), PROMPT),
        stale: Duration::ZERO,
        throttled: 0,
        failing: 0,
    };
}

impl Conditions {
    /// Returns the conditions under these troubles.
    pub fn under(troubles: &[Trouble]) -> Self {
        let mut conditions = Self {
            adverts_cut: [false; 2],
            link_cut: [false; 2],
            loss: 0,
            duplicates: 0,
            way: NEAR,
            api: [Api::HEALTHY; 2],
        };
        for trouble in troubles {
            conditions.suffer(trouble.what);
        }
        conditions
    }

    /// Whether adverts of this host arrive, all of them and soon.
    #[must_use]
    pub fn adverts_arrive(&self, from: Side) -> bool {
        !self.adverts_cut[from.index()] && self.loss == 0 && self.way == NEAR
    }

    /// Whether the EC2 API is healthy for both hosts.
    #[must_use]
    pub fn api_is_well(&self) -> bool {
        self.api == [Api::HEALTHY; 2]
    }

    fn suffer(&mut self, what: What) {
        match what {
            What::Cut {
                from,
                adverts,
                link,
            } => {
                for side in Side::BOTH.map(Side::index) {
                    self.adverts_cut[side] |= adverts && from[side];
                    self.link_cut[side] |= link && from[side];
                }
            }
            What::Isolated(side) => {
                self.adverts_cut = [true; 2];
                self.link_cut = [true; 2];
                self.api[side.index()].reachable = false;
            }
            What::Loss(percent) => self.loss = self.loss.max(percent),
            What::Delay(most) => self.way.1 = self.way.1.max(most),
            What::Duplicates(percent) => self.duplicates = self.duplicates.max(percent),
            What::ApiUnreachable(side) => self.api[side.index()].reachable = false,
            What::ApiSlow(most) => self.each_api(|api| api.takes.1 = api.takes.1.max(most)),
            What::ApiStale(age) => self.each_api(|api| api.stale = api.stale.max(age)),
            What::ApiThrottled(percent) => {
                self.each_api(|api| api.throttled = api.throttled.max(percent));
            }
            What::ApiFails(percent) => self.each_api(|api| api.failing = api.failing.max(percent)),
            // These concern one host, or happen once.
            What::LinkReset
            | What::Crash { .. }
            | What::Pause(_)
            | What::ClockJump { .. }
            | What::Fault(_)
            | What::Weight { .. }
            | What::MovedByHand(_)
            | What::HandOver(_)
            | What::Stop(_)
            | What::Upgrade(_)
            | What::Reconfigure { .. } => {}
        }
    }

    fn each_api(&mut self, change: impl FnMut(&mut Api)) {
        self.api.iter_mut().for_each(change);
    }
}
