//! The address that moves between the balancers.

use std::net::Ipv4Addr;

/// The Elastic IP, the public address that clients connect to.
pub const ELASTIC_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 74);
