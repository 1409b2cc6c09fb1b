//! The plan of a simulated run: the settings of the pair, and the troubles.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lb_ha::{
    pair::{Arbiter, Settings},
    vrrp::{self, Version},
};

/// One of the two hosts of the simulated pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The host with the lower IP address.
    A,
    /// The host with the higher IP address.
    B,
}

impl Side {
    /// Both hosts of the pair.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Returns the other host of the pair.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the index of this host in an array with a value for each host.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// Returns the IP address of the host.
    #[must_use]
    pub fn address(self) -> IpAddr {
        IpAddr::V4(match self {
            Self::A => Ipv4Addr::new(172, 31, 0, 68),
            Self::B => Ipv4Addr::new(172, 31, 15, 233),
        })
    }
}

/// The holder of the Elastic IP, which moves between the hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder {
    /// This host of the pair.
    Host(Side),
    /// A machine that is not in the pair.
    Stranger,
    /// The Elastic IP is associated with no machine.
    Nobody,
}

/// The plan of one simulated run: the settings of the pair, and the troubles.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all random choices that are made during the run.
    pub seed: u64,
    /// The settings of the hosts A and B, and how long their agents and requests take.
    pub hosts: [HostPlan; 2],
    /// Whether the agents of the two hosts have a link to each other.
    pub link: bool,
    /// What decides which of the hosts has the addresses that move between them: the EC2 API, or
    /// nothing but the hosts' roles.
    pub arbiter: Arbiter,
    /// The holder of the Elastic IP at the beginning of the run.
    pub holder: Holder,
    /// The troubles of the run, in the order in which they were added.
    pub troubles: Vec<Trouble>,
    /// Time from the beginning of the run to the end of the last trouble.
    pub healed: Duration,
}

/// The settings of one host in a simulated run, and how long its agent and its requests take.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// The settings of the host's virtual router.
    pub vrrp: vrrp::Settings,
    /// How long requests may take to end before this host hands the active role over.
    pub handover: Duration,
    /// When the agent of the host starts for the first time, from the beginning of the run.
    pub start: Duration,
    /// How long each start of the agent takes until the first health checks of its backends are
    /// complete.
    pub checked: Duration,
    /// How long each start of the agent takes until the agent has received the other host's flows.
    pub synced: Duration,
    /// How long client requests that are in progress continue after the host begins to hold back
    /// new connections; `None`: they never end.
    pub quiet: Option<Duration>,
}

impl Plan {
    /// Returns the plan of a run of a pair with a link between the agents and an Elastic IP,
    /// adverts every 100 ms, priorities 110 and 100, and no trouble. Host A starts first and
    /// becomes active.
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

    /// Returns this plan of a run with one more trouble, which begins at `at` after the beginning
    /// of the run and lasts for `lasts`.
    #[must_use]
    pub fn with(mut self, at: Duration, lasts: Duration, what: What) -> Self {
        self.troubles.push(Trouble { at, lasts, what });
        self.healed = self.healed.max(at + lasts);
        self
    }

    /// Returns the settings with which a host of this run starts.
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

/// One trouble of a run: what goes wrong, and when.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// When the trouble begins, from the beginning of the run.
    pub at: Duration,
    /// How long the trouble lasts; it has no meaning for troubles that happen at one moment.
    pub lasts: Duration,
    /// What goes wrong while the trouble is present.
    pub what: What,
}

/// What goes wrong in the simulated world.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// What one host of the pair sends to the other, or what each of them sends, does not arrive.
    Cut {
        /// For the hosts A and B, in this order, whether what the host sends does not arrive.
        from: [bool; 2],
        /// Whether the adverts of the hosts in `from` are lost.
        adverts: bool,
        /// Whether the messages of the hosts in `from` over the link between the agents are held
        /// up.
        link: bool,
    },
    /// The network cable of this host is pulled: the host reaches neither the other host nor the
    /// EC2 API.
    Isolated(Side),
    /// This percentage of the adverts of both hosts is lost.
    Loss(u8),
    /// The delivery of messages between the hosts takes up to this much longer.
    Delay(Duration),
    /// This percentage of the adverts arrives twice.
    Duplicates(u8),
    /// The link between the agents breaks, and both agents notice it.
    LinkReset,
    /// The agent crashes without a goodbye. It starts again when this trouble ends.
    Crash {
        /// The host whose agent crashes.
        side: Side,
        /// Whether the whole host loses power, so that nothing closes its connections.
        power: bool,
    },
    /// The agent of this host is suspended (SIGSTOP), and continues when this trouble ends.
    Pause(Side),
    /// The clock of a host jumps forward.
    ClockJump {
        /// The host whose clock jumps.
        side: Side,
        /// How far the clock jumps forward.
        by: Duration,
    },
    /// A tracked object of this host fails.
    Fault(Side),
    /// The weights of tracked objects change the priority of a host.
    Weight {
        /// The host whose priority is changed.
        side: Side,
        /// The weight that is added to the priority.
        weight: i16,
    },
    /// Calls to the EC2 API take up to this long.
    ApiSlow(Duration),
    /// The EC2 API answers DescribeAddresses with a state of the Elastic IP up to this long ago.
    ApiStale(Duration),
    /// The EC2 API throttles this percentage of the calls.
    ApiThrottled(u8),
    /// This percentage of the calls to the EC2 API fails.
    ApiFails(u8),
    /// The EC2 API cannot be reached from this host.
    ApiUnreachable(Side),
    /// Somebody moves the Elastic IP by hand to this holder.
    MovedByHand(Holder),
    /// The operator runs `lb failover` on this host.
    HandOver(Side),
    /// The agent of this host is ordered to exit (SIGTERM). It starts again when this trouble ends.
    Stop(Side),
    /// The agent of this host is upgraded (`lb upgrade`): another process continues in its place
    /// when this trouble ends.
    Upgrade(Side),
    /// The settings of a host are changed (SIGHUP), and stay so.
    Reconfigure {
        /// The host whose settings are changed.
        side: Side,
        /// The new priority of the host.
        priority: u8,
        /// Whether the host takes over from a master with a lower priority.
        preempt: bool,
    },
}
