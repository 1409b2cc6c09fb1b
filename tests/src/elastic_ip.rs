//! The Elastic IP, which moves between the balancers.

use std::net::Ipv4Addr;

/// The address of the Elastic IP in the end-to-end tests, to which clients connect.
pub const ELASTIC_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 74);
