//! New connections to backends most of whose source ports are in use.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use lb_common::flow::FlowKey;

use crate::{
    balancer::Lb,
    packets::{Clients, OCCUPIED_BACKENDS, XDP_TX, syn},
    stage::SOURCE_PORTS,
};

/// The share of the source ports that established connections hold.
const TAKEN: f64 = 0.7;
/// Connections opened in one round: few, because the new connections use source ports, too.
const BEGUN: u32 = 64;

/// The service most of whose source ports are in use.
pub(crate) struct Occupied {
    next: u32,
    /// Number of SYNs that were measured.
    begun: u32,
    /// Number of measured SYNs that were dropped.
    refused: u32,
    /// Number of SYNs that were dropped while the ports were being filled.
    refused_before: u32,
}

impl Occupied {
    /// Establishes as many connections as are needed for [`TAKEN`] of the source ports at each
    /// backend to be in use in the middle of `rounds` rounds.
    pub(crate) fn prepare(lb: &Lb<'_>, rounds: u32) -> anyhow::Result<Self> {
        let mut occupied = Self {
            next: 0,
            begun: 0,
            refused: 0,
            refused_before: 0,
        };
        let ports = f64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1.0;
        let backends = f64::from(u32::try_from(OCCUPIED_BACKENDS)?);
        let wanted = TAKEN * ports * backends - f64::from(rounds * BEGUN) / 2.0;
        let mut taken: BTreeMap<[u8; 4], u32> = BTreeMap::new();
        let mut out = Vec::new();
        while f64::from(occupied.next - occupied.refused_before) < wanted {
            match lb.establish(occupied.client(), &mut out) {
                Some(back) => *taken.entry(back.source).or_default() += 1,
                None => occupied.refused_before += 1,
            }
            ensure!(
                f64::from(occupied.refused_before) < wanted,
                "as many connections were dropped as were opened while source ports were taken"
            );
        }
        let even = |count: &u32| (f64::from(*count) * backends / wanted - 1.0).abs() < 0.05;
        ensure!(
            taken.values().all(even) && taken.len() == OCCUPIED_BACKENDS,
            "the connections are not spread evenly over the backends: {taken:?}"
        );
        Ok(occupied)
    }

    /// Measures new connections; returns the nanoseconds per SYN, whether forwarded or dropped.
    pub(crate) fn time(&mut self, lb: &Lb<'_>) -> f64 {
        let mut out = Vec::new();
        let mut total = Duration::ZERO;
        for _ in 0..BEGUN {
            let (action, duration) = lb.stage.feed(&syn(self.client()), &mut out);
            total += duration;
            self.begun += 1;
            self.refused += u32::from(action != XDP_TX);
        }
        total.as_secs_f64() * 1e9 / f64::from(BEGUN)
    }

    /// Returns the share of the measured SYNs that were dropped.
    pub(crate) fn refused_share(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.begun)
    }

    /// Returns the number of dropped SYNs, measured or not.
    pub(crate) fn refused(&self) -> u64 {
        u64::from(self.refused) + u64::from(self.refused_before)
    }

    fn client(&mut self) -> FlowKey {
        self.next += 1;
        Clients::OCCUPYING.key(self.next)
    }
}
