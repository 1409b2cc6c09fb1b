//! The addresses that come and go on this host.

use std::net::IpAddr;

use super::super::{Ha, InterfaceAddress, Moves};

impl Ha {
    /// The addresses that the agent itself puts on this host's interface while it is active, and
    /// takes off otherwise: the virtual ones, or the secondary private address that moves with its
    /// Elastic IP. None where an Elastic IP moves alone, or commands move what is to move.
    #[must_use]
    pub fn interface_addresses(&self) -> Vec<InterfaceAddress> {
        match &self.moves {
            Moves::VirtualIp(addresses) => addresses.clone(),
            Moves::ElasticIp(elastic) => {
                let moving = elastic.private_ip.filter(|_| elastic.moves_private_ip);
                // Its network is known by the interface's first address already.
                let moving = moving.map(|address| InterfaceAddress {
                    address: IpAddr::V4(address),
                    prefix: 32,
                });
                moving.into_iter().collect()
            }
            Moves::Commands => Vec::new(),
        }
    }

    /// The addresses that a service may listen on while another host has them: those that the agent
    /// moves, and those that commands move as far as adverts name them.
    #[must_use]
    pub fn moving_addresses(&self) -> Vec<IpAddr> {
        match &self.moves {
            Moves::Commands => self.advertised_addresses.clone(),
            Moves::VirtualIp(_) | Moves::ElasticIp(_) => {
                let moved = self.interface_addresses();
                moved.into_iter().map(|moved| moved.address).collect()
            }
        }
    }
}
