//! Reads the host's routing table, for gateways and local networks.

use std::{fs, net::Ipv4Addr};

/// The file with the kernel's main routing table in the network namespace of the thread, one route
/// per line (Documentation/filesystems/proc.rst).
const TABLE: &str = "/proc/thread-self/net/route";

/// Flags of a route in the table (linux/route.h).
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// The IPv4 routes of the host, the most specific first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Routes(Vec<Route>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Route {
    network: u32,
    mask: u32,
    /// The address of the route's gateway; `None` if the network is directly connected.
    gateway: Option<Ipv4Addr>,
}

impl Routes {
    /// Reads the current routing table; empty if it cannot be read.
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string(TABLE).unwrap_or_default())
    }

    fn parse(table: &str) -> Self {
        let mut routes: Vec<Route> = table.lines().skip(1).filter_map(route).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.mask));
        Self(routes)
    }

    /// Returns the gateways of all routes that have one.
    pub(super) fn gateways(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.0.iter().filter_map(|route| route.gateway)
    }

    /// Returns whether this address is in a directly connected network.
    pub(super) fn lead_straight_to(&self, address: Ipv4Addr) -> bool {
        self.0
            .iter()
            .find(|route| address.to_bits() & route.mask == route.network)
            .is_some_and(|route| route.gateway.is_none())
    }
}

/// Parses a line of the table: `eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0`. Its addresses
/// are hexadecimal numbers in the host's byte order.
fn route(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |place: usize| u32::from_str_radix(fields.get(place)?, 16).ok();
    let address = |place: usize| Some(Ipv4Addr::from(number(place)?.to_ne_bytes()));
    let (network, gateway, flags, mask) = (address(1)?, address(2)?, number(3)?, address(7)?);
    let leads_somewhere = flags & UP != 0 && flags & REJECT == 0;
    leads_somewhere.then_some(Route {
        network: network.to_bits(),
        mask: mask.to_bits(),
        gateway: (!gateway.is_unspecified()).then_some(gateway),
    })
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const SOME: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t01001FAC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00001FAC\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
eth0\t00041FAC\t02001FAC\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0000000A\t00000000\t0201\t0\t0\t0\t000000FF\t0\t0\t0
broken
";

    #[test]
    fn the_most_specific_route_says_who_is_a_neighbour() {
        let routes = Routes::parse(SOME);
        let straight = |address: [u8; 4]| routes.lead_straight_to(Ipv4Addr::from(address));
        assert!(straight([172, 31, 15, 233]));
        assert!(!straight([172, 31, 4, 1]), "by the second gateway");
        assert!(!straight([198, 51, 100, 10]), "by the default route");
        assert!(!straight([10, 0, 0, 6]), "its route rejects");
        assert!(!Routes::default().lead_straight_to(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn gateways_are_those_of_the_routes() {
        let gateways: Vec<Ipv4Addr> = Routes::parse(SOME).gateways().collect();
        let expected = [[172, 31, 0, 2], [172, 31, 0, 1]].map(Ipv4Addr::from);
        assert_eq!(gateways, expected);
    }
}
