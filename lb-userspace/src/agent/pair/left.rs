//! The state of the pair that a process of this host hands to the next process in an upgrade, so
//! that this host keeps its role.

use std::time::Duration;

use lb_ha::pair::{Event, View};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::config::{Ha, Moves, Node};

/// How a process left the pair, for the process that takes over from it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::agent) struct Left {
    /// When the process left the pair, in nanoseconds of CLOCK_BOOTTIME, which is the same clock
    /// for all processes of a host.
    at: u64,
    /// Whether the host was active when the process left the pair.
    active: bool,
    /// Whether this host had the address that moves between the hosts when the process left. An
    /// Elastic IP counts only if the EC2 API had confirmed it here; other addresses are at the
    /// active host.
    has_address: bool,
}

/// A text that identifies the addresses that move between the hosts, and their interface. It is
/// compared before a take-over, because the next process must not leave addresses on the interface
/// that the earlier process put there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::agent) struct Moving(String);

impl Moving {
    /// Returns the text for the moving addresses and the interface of a configuration.
    pub(in crate::agent) fn of(ha: &Ha, node: &Node) -> Self {
        let kind = match ha.moves {
            Moves::ElasticIp(_) => "elastic_ip",
            Moves::VirtualIp(_) => "virtual_ip",
            Moves::Commands => "commands",
        };
        let interface = node.interfaces.first();
        Self(format!("{kind} {interface} {:?}", ha.interface_addresses()))
    }
}

impl Left {
    /// Records the present role of this host, and the present time as the time at which the process
    /// leaves the pair.
    pub(super) fn now(view: &View) -> Self {
        Self {
            at: boot_time(),
            active: view.state == lb_ha::vrrp::State::Master,
            has_address: view.has_address,
        }
    }

    /// Returns whether the moving addresses are on this host's interface.
    pub(super) fn holds_addresses(&self) -> bool {
        self.active
    }

    /// Returns the event with which the next process starts its pair state machine.
    pub(super) fn event(&self) -> Event {
        if !self.active {
            return Event::Start;
        }
        Event::Resume {
            silent_for: Duration::from_nanos(boot_time().saturating_sub(self.at)),
            has_address: self.has_address,
        }
    }
}

fn boot_time() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    // CLOCK_BOOTTIME always exists. The fallback makes a process resume as if it had left the pair
    // a long time ago.
    now.map_or(u64::MAX, |now| {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    })
}
