//! A lab with a pair of agents and a fake EC2 API: the start of most tests of the pair.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    Lab,
    agent::{Pair, Settings},
    ec2::{Call, FakeEc2},
    gateway::Follower,
    topology::BALANCERS,
};

/// Time-out for the Elastic IP to move to another host while the EC2 API works.
const MOVING: Duration = Duration::from_secs(5);

/// A test network with an EC2 API, a gateway that follows it, and a pair of agents, the first of
/// which is active.
#[derive(Debug)]
pub struct Scene {
    /// The agents of both balancers. This is the first field, so they are dropped before everything
    /// else.
    pub pair: Pair,
    /// The task that keeps the gateway pointed at the owner of the Elastic IP.
    pub follower: Follower,
    /// The fake EC2 API, which the agents and the gateway use.
    pub ec2: Arc<FakeEc2>,
    /// The test network in which everything else runs.
    pub lab: Lab,
}

impl Scene {
    /// Starts the test network, the EC2 API and the pair of agents with the settings of
    /// [`Settings::elastic_pair`].
    ///
    /// # Errors
    /// When they do not come up with the first balancer active.
    pub fn raise() -> Result<Self> {
        Self::raise_with(|_| {})
    }

    /// Starts the test network, the EC2 API and the pair of agents with the settings of
    /// [`Settings::elastic_pair`], after `change` has changed them.
    ///
    /// # Errors
    /// As [`Scene::raise`].
    pub fn raise_with(change: impl FnOnce(&mut [Settings; 2])) -> Result<Self> {
        Self::raise_in(Lab::raise()?, change)
    }

    /// Starts the EC2 API and the pair of agents in a test network that the caller has started and
    /// prepared.
    ///
    /// # Errors
    /// As [`Scene::raise`].
    pub fn raise_in(lab: Lab, change: impl FnOnce(&mut [Settings; 2])) -> Result<Self> {
        let ec2 = lab.fake_ec2()?;
        let follower = lab.internet_gateway.follow_ec2(&ec2);
        let mut settings = Settings::elastic_pair(&lab, &*ec2);
        change(&mut settings);
        let scene = Self {
            pair: Pair::start(&lab, &settings)?,
            follower,
            ec2,
            lab,
        };
        scene.wait_until_agreed(0)?;
        Ok(scene)
    }

    /// Waits until this balancer is active and has the Elastic IP, and the other is standby.
    ///
    /// # Errors
    /// When the hosts do not get these roles in time; the error contains the status of both agents.
    pub fn wait_until_agreed(&self, active: usize) -> Result<()> {
        self.pair.wait_until_agreed(active)?;
        self.wait_until_owner(active, MOVING)
    }

    /// Waits until packets to the Elastic IP go to this balancer.
    ///
    /// # Errors
    /// When they do not do so within `limit`.
    pub fn wait_until_owner(&self, balancer: usize, limit: Duration) -> Result<()> {
        self.follower.wait_for(BALANCERS[balancer].1, limit)
    }

    /// Returns the EC2 API calls so far that associated the Elastic IP, without dry runs, in order
    /// of arrival.
    #[must_use]
    pub fn associations(&self) -> Vec<Call> {
        let mut calls = self.ec2.calls();
        calls.retain(|call| call.action == "AssociateAddress" && !call.dry_run);
        calls
    }

    /// Checks that no agent made two concurrent calls to the EC2 API.
    ///
    /// # Errors
    /// When an agent made two; the error names both calls.
    pub fn calls_were_one_by_one(&self) -> Result<()> {
        let overlap = self.ec2.overlap();
        ensure!(overlap.is_none(), "two calls at one time: {overlap:?}");
        Ok(())
    }
}
