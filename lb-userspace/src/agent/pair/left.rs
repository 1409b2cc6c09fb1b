//! The state that a process of this host hands to the next one, so that the role stays where it is.

use std::time::Duration;

use lb_ha::pair::{Event, View};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::config::{Ha, Moves, Node};

/// How a process left the pair.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::agent) struct Left {
    /// When the process left, in nanoseconds of CLOCK_BOOTTIME, which all processes of a host share.
    at: u64,
    /// Whether the host was active.
    active: bool,
    /// Whether the address was confirmed for this host.
    has_address: bool,
}

/// The addresses that move between the hosts, and their interface, for comparison: the next process
/// must not leave other addresses of this one behind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::agent) struct Moving(String);

impl Moving {
    /// Reads the moving addresses and their interface from the configuration.
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
    /// Records the present state and time.
    pub(super) fn now(view: &View) -> Self {
        Self {
            at: boot_time(),
            active: view.state == lb_ha::vrrp::State::Master,
            has_address: view.has_address,
        }
    }

    /// Whether the moving addresses are on the interface.
    pub(super) fn holds_addresses(&self) -> bool {
        self.active
    }

    /// Returns the event with which the next process starts its state machine.
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
    // The clock always exists; without it a process would resume as if after a long time.
    now.map_or(u64::MAX, |now| {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    })
}
