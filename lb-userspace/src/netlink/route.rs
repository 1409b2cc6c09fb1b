//! Looks up routes by netlink.

use std::{io, net::Ipv4Addr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType},
};

use super::Rtnetlink;

/// The result of a route lookup: where packets for an address go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// The packets leave by one of the interfaces with these indices: a multipath route has
    /// several.
    Out(Vec<u32>),
    /// The address is one of this host.
    Local,
    /// The packets go nowhere, for the reason given: there is no route, or the route rejects
    /// packets.
    Nowhere(String),
}

impl Rtnetlink {
    /// Looks up the route that packets from this host to an address take.
    ///
    /// # Errors
    /// The netlink request fails.
    pub(crate) fn way_to(&mut self, address: Ipv4Addr) -> io::Result<Way> {
        // The first lookup asks for the matching entry of the routing table, which has all paths of
        // a multipath route; the second asks for the one path that the kernel selects.
        for flags in [RouteFlags::FibMatch, RouteFlags::empty()] {
            let route = match self.one(question(address, flags)) {
                Ok(RouteNetlinkMessage::NewRoute(route)) => route,
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) if is_refusal(&error) => return Ok(Way::Nowhere(error.to_string())),
                Err(error) => return Err(error),
            };
            if route.header.kind == RouteType::Local {
                return Ok(Way::Local);
            }
            let interfaces = interfaces(&route);
            if !interfaces.is_empty() {
                return Ok(Way::Out(interfaces));
            }
        }
        Ok(Way::Nowhere("its route names no interface".to_owned()))
    }
}

fn question(address: Ipv4Addr, flags: RouteFlags) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.flags = flags;
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(address))];
    RouteNetlinkMessage::GetRoute(message)
}

fn interfaces(route: &RouteMessage) -> Vec<u32> {
    let mut interfaces: Vec<u32> = route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(paths) => {
                paths.iter().map(|path| path.interface_index).collect()
            }
            _ => Vec::new(),
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    interfaces
}

/// Returns whether the error is a result of the lookup: there is no route, or only one of type
/// `unreachable`, `prohibit` or `blackhole` (net/ipv4/fib_semantics.c, `fib_props`).
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_loopback_stay_on_this_host() {
        let mut kernel = Rtnetlink::open().expect("a socket");
        let way = kernel.way_to(Ipv4Addr::LOCALHOST).expect("an answer");
        assert_eq!(way, Way::Local);
    }
}
