//! Decides which next hops of flows become outdated by netlink messages about links, neighbours and
//! routes. This is a pure state machine.

use std::{collections::HashMap, net::Ipv4Addr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};

/// The least value of the limit on remembered neighbours, which is higher if the kernel's list of
/// neighbours has more than half as many entries. Each neighbour takes about a hundred bytes.
const NEIGHBOURS: usize = 65_536;

/// What the XDP program must look up again for its flows, the least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stale {
    /// Nothing must be looked up again.
    Nothing,
    /// Next hops must be looked up again: a neighbour got a link-layer address, or has another one
    /// than before.
    Hops,
    /// Routes and next hops must be looked up again.
    Routes,
}

/// The last known links and neighbours. The kernel also sends messages when it merely confirms a
/// neighbour or updates a link's counters; such messages require no new lookup.
#[derive(Debug)]
pub(super) struct Topology {
    links: HashMap<u32, Link>,
    /// The link-layer address of each neighbour, by interface index and IPv4 address. Neighbours
    /// that the kernel removes are kept here: flows may still use them, and must be updated if the
    /// neighbour returns with another link-layer address.
    neighbours: HashMap<(u32, Ipv4Addr), Vec<u8>>,
    /// The limit on `neighbours`. If more are remembered, the kernel's lists are read again.
    most_neighbours: usize,
}

/// The properties of a link (interface) that next hops depend on.
#[derive(Debug, PartialEq)]
struct Link {
    /// The flags that say whether the link is up. They matter because the kernel removes the routes
    /// of a link that goes down without a message for each route.
    flags: LinkFlags,
    address: Option<Vec<u8>>,
}

impl Topology {
    /// Builds the state from the kernel's lists of all links and neighbours.
    pub(super) fn from_dump(messages: &[RouteNetlinkMessage]) -> Self {
        let mut topology = Self {
            links: HashMap::new(),
            neighbours: HashMap::new(),
            most_neighbours: usize::MAX,
        };
        for message in messages {
            let _all_is_new = topology.apply(message, |_| false);
        }
        topology.most_neighbours = NEIGHBOURS.max(2 * topology.neighbours.len());
        topology
    }

    /// Returns whether too many neighbours are remembered, so that the kernel's lists must be read
    /// again.
    pub(super) fn is_full(&self) -> bool {
        self.neighbours.len() > self.most_neighbours
    }

    /// Applies one message. Returns what must be looked up again after it. A neighbour that was not
    /// known before matters only if `wanted` returns true for it: flows may have kept an older next
    /// hop while it was missing. No flow uses another new neighbour yet.
    pub(super) fn apply(
        &mut self,
        message: &RouteNetlinkMessage,
        wanted: impl Fn(Ipv4Addr) -> bool,
    ) -> Stale {
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.apply_neighbour(neighbour, wanted),
            RouteNetlinkMessage::NewLink(link) => self.apply_link(link),
            RouteNetlinkMessage::DelLink(link) => {
                let index = link.header.index;
                self.neighbours.retain(|(one, _), _| *one != index);
                match self.links.remove(&index) {
                    Some(_known) => Stale::Routes,
                    None => Stale::Nothing,
                }
            }
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewRule(_)
            | RouteNetlinkMessage::DelRule(_) => Stale::Routes,
            _ => Stale::Nothing,
        }
    }

    fn apply_link(&mut self, message: &LinkMessage) -> Stale {
        // This message is skipped because a bridge reports its ports with the ports' own indices.
        if message.header.interface_family == AddressFamily::Bridge {
            return Stale::Nothing;
        }
        let carries = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
        let address = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Address(octets) => Some(octets.clone()),
                _ => None,
            });
        let link = Link {
            flags: message.header.flags & carries,
            address,
        };
        let index = message.header.index;
        if self.links.get(&index) == Some(&link) {
            return Stale::Nothing;
        }
        self.links.insert(index, link);
        Stale::Routes
    }

    fn apply_neighbour(
        &mut self,
        message: &NeighbourMessage,
        wanted: impl Fn(Ipv4Addr) -> bool,
    ) -> Stale {
        let mut address = None;
        let mut link_layer = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(inet)) => {
                    address = Some(*inet);
                }
                NeighbourAttribute::LinkLayerAddress(octets) => link_layer = Some(octets),
                _ => {}
            }
        }
        let (Some(address), Some(link_layer)) = (address, link_layer) else {
            return Stale::Nothing;
        };
        let key = (message.header.ifindex, address);
        match self.neighbours.get_mut(&key) {
            Some(known) if known == link_layer => Stale::Nothing,
            Some(known) => {
                known.clone_from(link_layer);
                Stale::Hops
            }
            None => {
                self.neighbours.insert(key, link_layer.clone());
                match wanted(address) {
                    true => Stale::Hops,
                    false => Stale::Nothing,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteMessage;

    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 99);

    fn neighbour(address: Ipv4Addr, last: u8) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 2;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, last]),
        ];
        RouteNetlinkMessage::NewNeighbour(message)
    }

    fn link(flags: LinkFlags, last: u8) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.flags = flags;
        message.attributes = vec![LinkAttribute::Address(vec![2, 0, 0, 0, 0, last])];
        RouteNetlinkMessage::NewLink(message)
    }

    fn apply(topology: &mut Topology, message: &RouteNetlinkMessage) -> Stale {
        topology.apply(message, |address| address == GATEWAY)
    }

    #[test]
    fn a_new_neighbour_matters_only_where_it_is_wanted() {
        let mut topology = Topology::from_dump(&[]);
        assert_eq!(apply(&mut topology, &neighbour(CLIENT, 7)), Stale::Nothing);
        assert_eq!(apply(&mut topology, &neighbour(GATEWAY, 1)), Stale::Hops);
        assert_eq!(apply(&mut topology, &neighbour(GATEWAY, 1)), Stale::Nothing);
    }

    #[test]
    fn another_link_layer_address_of_any_neighbour_matters() {
        let listed = [neighbour(CLIENT, 7)];
        let mut topology = Topology::from_dump(&listed);
        assert_eq!(apply(&mut topology, &listed[0]), Stale::Nothing);
        assert_eq!(apply(&mut topology, &neighbour(CLIENT, 8)), Stale::Hops);
        let NeighbourGone { gone, back } = gone_and_back();
        assert_eq!(apply(&mut topology, &gone), Stale::Nothing);
        assert_eq!(apply(&mut topology, &back), Stale::Hops);
    }

    struct NeighbourGone {
        gone: RouteNetlinkMessage,
        back: RouteNetlinkMessage,
    }

    /// Returns the message that removes the client's neighbour entry, and the message that adds it
    /// again with another link-layer address.
    fn gone_and_back() -> NeighbourGone {
        let RouteNetlinkMessage::NewNeighbour(before) = neighbour(CLIENT, 8) else {
            unreachable!("it is one");
        };
        NeighbourGone {
            gone: RouteNetlinkMessage::DelNeighbour(before),
            back: neighbour(CLIENT, 9),
        }
    }

    #[test]
    fn a_link_matters_when_its_carrier_or_its_address_changes() {
        let up = LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running;
        let mut topology = Topology::from_dump(&[link(up, 0x68)]);
        assert_eq!(apply(&mut topology, &link(up, 0x68)), Stale::Nothing);
        let promiscuous = up | LinkFlags::Promisc;
        assert_eq!(
            apply(&mut topology, &link(promiscuous, 0x68)),
            Stale::Nothing
        );
        assert_eq!(
            apply(&mut topology, &link(LinkFlags::Up, 0x68)),
            Stale::Routes
        );
        assert_eq!(
            apply(&mut topology, &link(LinkFlags::Up, 0x69)),
            Stale::Routes
        );
    }

    #[test]
    fn routes_always_matter() {
        let mut topology = Topology::from_dump(&[]);
        let route = RouteMessage::default();
        let added = RouteNetlinkMessage::NewRoute(route.clone());
        let removed = RouteNetlinkMessage::DelRoute(route);
        assert_eq!(apply(&mut topology, &added), Stale::Routes);
        assert_eq!(apply(&mut topology, &removed), Stale::Routes);
    }

    #[test]
    fn a_flood_of_neighbours_does_not_grow_the_memory_without_end() {
        let mut topology = Topology::from_dump(&[]);
        for number in 0..=u32::try_from(NEIGHBOURS).expect("fits") {
            assert!(!topology.is_full(), "at {number}");
            let address = Ipv4Addr::from_bits(0x0a00_0000 + number);
            assert_eq!(apply(&mut topology, &neighbour(address, 1)), Stale::Nothing);
        }
        assert!(topology.is_full());
    }
}
