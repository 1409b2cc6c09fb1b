//! The measured pair with `lb` on both hosts.

use std::time::Duration;

use anyhow::Result;
use lab::{
    Lab,
    agent::{Pair, Settings},
    ec2::FakeEc2,
};

use super::Balancers;

/// The pair of agents, with adverts every 100 ms.
pub(super) struct Ours(Pair);

impl Ours {
    pub(super) fn start(lab: &Lab, ec2: &FakeEc2) -> Result<Self> {
        Ok(Self(
            Pair::start(lab, &Settings::elastic_pair(lab, ec2))?.quiet(),
        ))
    }
}

impl Balancers for Ours {
    fn rhythm(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn kill(&mut self) -> Result<()> {
        self.0.take(0)?.sigkill()
    }

    fn restart(&mut self) -> Result<()> {
        self.0.start_again(0)
    }

    fn wait_until_calm(&self) -> Result<()> {
        self.0.wait_until_agreed(0)
    }
}
