//! The addresses that move between this host and its peer.

use std::net::IpAddr;

use super::super::{Ha, InterfaceAddress, Moves};

impl Ha {
    /// Returns the addresses that the agent adds to this host's interface while the host is active,
    /// and removes otherwise: the virtual addresses, or the secondary private address that moves
    /// with its Elastic IP. Empty if an Elastic IP moves without a private address, or if commands
    /// move the address.
    #[must_use]
    pub fn interface_addresses(&self) -> Vec<InterfaceAddress> {
        match &self.moves {
            Moves::VirtualIp(addresses) => addresses.clone(),
            Moves::ElasticIp(elastic) => {
                let moving = elastic.private_ip.filter(|_| elastic.moves_private_ip);
                // The prefix length 32 is enough: the interface's first address already has the
                // route to the network of this address.
                let moving = moving.map(|address| InterfaceAddress {
                    address: IpAddr::V4(address),
                    prefix: 32,
                });
                moving.into_iter().collect()
            }
            Moves::Commands => Vec::new(),
        }
    }

    /// Returns the addresses that a service may listen on while the peer has them: the addresses
    /// that the agent moves, or, if commands move the address, those that adverts carry.
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
