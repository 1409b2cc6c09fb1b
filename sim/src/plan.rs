//! The plan of a run: the settings of the pair, and the troubles.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lb_ha::{
    pair::{Arbiter, Settings},
    vrrp::{self, Version},
};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The host with the lower address.
    A,
    /// The host with the higher address.
    B,
}

impl Side {
    /// Both hosts.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Returns the other host.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the index of this host in an array of two.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// Returns the host's address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        IpAddr::V4(match self {
            Self::A => Ipv4Addr::new(172, 31, 0, 68),
            Self::B => Ipv4Addr::new(172, 31, 15, 233),
        })
    }
}

/// The holder of the address that moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder {
    /// A host of the pair.
    Host(Side),
    /// Another machine.
    Stranger,
    /// The address is not associated.
    Nobody,
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all further random choices in the run.
    pub seed: u64,
    /// The plans of A and B.
    pub hosts: [HostPlan; 2],
    /// Whether there is a link between the agents.
    pub link: bool,
    /// What decides which host has the address.
    pub arbiter: Arbiter,
    /// The holder of the address at the start.
    pub holder: Holder,
    /// The troubles of the run.
    pub troubles: Vec<Trouble>,
    /// When the last trouble ends.
    pub healed: Duration,
}

/// One host in a run.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Its virtual router.
    pub vrrp: vrrp::Settings,
    /// How long requests may take to end.
    pub handover: Duration,
    /// When its agent starts.
    pub start: Duration,
    /// How long after a start its backends are checked.
    pub checked: Duration,
    /// How long after a start it has the other host's flows.
    pub synced: Duration,
    /// How long requests go on after a hold; `None`: for ever.
    pub quiet: Option<Duration>,
}

impl Plan {
    /// Two hosts with a link and an Elastic IP, adverts every 100 ms, priorities 110 and 100, and
    /// nothing that goes wrong. A starts first and becomes active.
    #[must_use]
    pub fn simple(seed: u64) -> Self {
        let host = |side: Side, priority, start| HostPlan {
            vrrp: vrrp::Settings {
                priority,
                interval: Duration::from_millis(100),
                version: Version::V3,
                preempt: true,
                preempt_delay: Duration::ZERO,
                address: side.address(),
            },
            handover: Duration::from_secs(5),
            start: Duration::from_millis(start),
            checked: Duration::from_millis(300),
            synced: Duration::from_millis(800),
            quiet: Some(Duration::from_millis(150)),
        };
        Self {
            seed,
            hosts: [host(Side::A, 110, 0), host(Side::B, 100, 2000)],
            link: true,
            arbiter: Arbiter::Ec2,
            holder: Holder::Host(Side::A),
            troubles: Vec::new(),
            healed: Duration::ZERO,
        }
    }

    /// Adds a trouble to the plan.
    #[must_use]
    pub fn with(mut self, at: Duration, lasts: Duration, what: What) -> Self {
        self.troubles.push(Trouble { at, lasts, what });
        self.healed = self.healed.max(at + lasts);
        self
    }

    /// The settings that a host of this run starts with.
    #[must_use]
    pub fn settings(&self, side: Side) -> Settings {
        let host = &self.hosts[side.index()];
        Settings {
            vrrp: host.vrrp.clone(),
            peer: side.other().address(),
            link: self.link,
            arbiter: self.arbiter,
            handover: host.handover,
            seed: self.seed.wrapping_mul(2) + side.index() as u64,
        }
    }
}

/// A trouble of limited duration.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, if it has a duration.
    pub lasts: Duration,
    /// The kind of trouble.
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Nothing that these hosts send arrives.
    Cut {
        /// Whether this concerns what A sends, and what B sends.
        from: [bool; 2],
        /// Whether adverts are lost.
        adverts: bool,
        /// Whether messages over the link are held up.
        link: bool,
    },
    /// The host's cable is pulled: neither the other host nor the EC2 API is there.
    Isolated(Side),
    /// Adverts of both hosts are lost, this many in a hundred.
    Loss(u8),
    /// Delivery takes up to this much longer.
    Delay(Duration),
    /// Adverts come twice, this many in a hundred.
    Duplicates(u8),
    /// The link breaks and both ends see it.
    LinkReset,
    /// The agent crashes without a goodbye. It starts again after this trouble.
    Crash {
        /// The host.
        side: Side,
        /// Whether the whole host loses power, so that nothing closes its connections.
        power: bool,
    },
    /// The agent is stopped (SIGSTOP), and goes on after this trouble.
    Pause(Side),
    /// The host's clock jumps forward.
    ClockJump {
        /// The host.
        side: Side,
        /// How far the clock jumps.
        by: Duration,
    },
    /// A tracked object of the host fails.
    Fault(Side),
    /// Tracked objects change the host's priority.
    Weight {
        /// The host.
        side: Side,
        /// The weight added to its priority.
        weight: i16,
    },
    /// Calls of the EC2 API take up to this.
    ApiSlow(Duration),
    /// Descriptions show what was up to this long ago.
    ApiStale(Duration),
    /// Calls are throttled, this many in a hundred.
    ApiThrottled(u8),
    /// Calls fail, this many in a hundred.
    ApiFails(u8),
    /// The EC2 API cannot be reached from this host.
    ApiUnreachable(Side),
    /// Somebody moves the address by hand.
    MovedByHand(Holder),
    /// The operator runs `lb failover` on this host.
    HandOver(Side),
    /// The agent is told to exit (SIGTERM). It starts again after this trouble.
    Stop(Side),
    /// Another process of the agent goes on in place of the one that runs (`lb upgrade`), after this
    /// trouble.
    Upgrade(Side),
    /// The settings are changed (SIGHUP), for good.
    Reconfigure {
        /// The host.
        side: Side,
        /// The new priority.
        priority: u8,
        /// Whether to take over from a master with a lower priority.
        preempt: bool,
    },
}
