//! The present conditions of the simulated network and EC2 API.

use std::time::Duration;

use crate::plan::{Side, Trouble, What};

/// Shortest and longest one-way delay of the network between the hosts while it is healthy.
const NEAR: (Duration, Duration) = (Duration::from_micros(80), Duration::from_micros(900));
/// Longest duration of a call to the EC2 API while that API is healthy.
pub const PROMPT: Duration = Duration::from_millis(120);

/// The conditions that result from all present troubles.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Whether all adverts that host A sends are lost, and whether all that host B sends are.
    pub adverts_cut: [bool; 2],
    /// Whether the messages that host A sends over the link between the agents are held up, and
    /// whether those that host B sends are.
    pub link_cut: [bool; 2],
    /// Percentage of the adverts that are lost.
    pub loss: u8,
    /// Percentage of the adverts that arrive twice.
    pub duplicates: u8,
    /// Shortest and longest one-way delay of the network between the hosts.
    pub way: (Duration, Duration),
    /// The condition of the EC2 API for host A, and for host B.
    pub api: [Api; 2],
}

/// The condition of the EC2 API for one host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Api {
    /// Whether the host can reach the EC2 API at all.
    pub reachable: bool,
    /// Shortest and longest duration of a call to the EC2 API.
    pub takes: (Duration, Duration),
    /// How long ago the state of the Elastic IP was, at most, with which the EC2 API answers
    /// DescribeAddresses.
    pub stale: Duration,
    /// Percentage of the calls to the EC2 API that it throttles.
    pub throttled: u8,
    /// Percentage of the calls to the EC2 API that fail.
    pub failing: u8,
}

impl Api {
    /// The condition of the EC2 API while it is healthy.
    pub const HEALTHY: Self = Self {
        reachable: true,
        takes: (Duration::from_millis(15), PROMPT),
        stale: Duration::ZERO,
        throttled: 0,
        failing: 0,
    };
}

impl Conditions {
    /// Returns the conditions while these troubles are present.
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

    /// Returns whether all adverts of this host arrive, and without an unusual delay.
    #[must_use]
    pub fn adverts_arrive(&self, from: Side) -> bool {
        !self.adverts_cut[from.index()] && self.loss == 0 && self.way == NEAR
    }

    /// Returns whether the EC2 API is healthy for both hosts.
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
            // These troubles concern one host, or happen once, so they change no condition of the
            // network or the EC2 API.
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
