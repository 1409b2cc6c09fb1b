//! Decides whether the addresses that move between the hosts are on this host's interface.

use std::time::Duration;

use super::{Action, Host};
use crate::{
    Time,
    elastic::{Owner, Reconciler},
    vrrp::State,
};

/// Minimum time between two announcements of the addresses that move between the hosts, while
/// another master announces them too.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// Whether the addresses that move between the hosts are on this host's interface, and when they
/// were announced.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    /// Whether the addresses that move between the hosts are on this host's interface.
    pub(super) here: bool,
    /// When the addresses that move between the hosts were last put on this host's interface and
    /// announced; `None` if they never were.
    pub(super) announced: Option<Time>,
    /// Whether another master was heard while the addresses that move between the hosts were on
    /// this host's interface.
    pub(super) contested: bool,
}

impl Host {
    /// Puts the addresses that move between the hosts on this host's interface or removes them,
    /// depending on its role. Where the EC2 API is the arbiter, a backup keeps them while the last
    /// answer of DescribeAddresses shows the Elastic IP here: packets still arrive, and no other
    /// host can serve them.
    pub(super) fn place_addresses(&mut self, now: Time) {
        let here = match self.router.state() {
            State::Master => true,
            State::Backup => self.address_seen_here(),
            State::Init | State::Fault => false,
        };
        // Announce the moving addresses again: another master announced them too, and its
        // announcement may have been the last.
        let again = std::mem::take(&mut self.placement.contested)
            && here
            && self
                .placement
                .announced
                .is_none_or(|then| now.since(then) >= ANNOUNCE);
        if here != self.placement.here || again {
            self.placement.here = here;
            self.placement.announced = here.then_some(now);
            self.actions.push(Action::Addresses { here });
        }
    }

    /// Whether this host has the address that moves between the hosts: the EC2 API has confirmed
    /// the Elastic IP here or, without that arbiter, this host is master.
    pub(super) fn has_address(&self) -> bool {
        match &self.reconciler {
            Some(reconciler) => reconciler.acquired(),
            None => self.router.state() == State::Master,
        }
    }

    /// Whether the EC2 API's last answer to DescribeAddresses shows the Elastic IP at this host.
    pub(super) fn address_seen_here(&self) -> bool {
        let seen = self.reconciler.as_ref().and_then(Reconciler::seen);
        seen.is_some_and(|(_, owner)| owner == Owner::Us)
    }
}
