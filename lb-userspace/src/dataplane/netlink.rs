//! What the kernel tells by rtnetlink (rtnetlink(7)).

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Error, XdpMode};

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Attached {
    pub(super) interface: u32,
    pub(super) mode: XdpMode,
    /// The program's number.
    pub(super) id: u32,
}

/// All XDP programs that are attached in this network namespace.
pub(super) fn attached_programs() -> Result<Vec<Attached>, Error> {
    let failed =
        |error: std::io::Error| Error::of("cannot ask the kernel for its interfaces", &error);
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    socket.bind_auto().map_err(failed)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
    socket.send(&request_for_links(), 0).map_err(failed)?;
    let mut programs = Vec::new();
    loop {
        let (datagram, _from) = socket.recv_from_full().map_err(failed)?;
        for message in messages(&datagram) {
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    programs.extend(attached(&link));
                }
                NetlinkPayload::Done(_) => return Ok(programs),
                NetlinkPayload::Error(error) => return Err(failed(error.to_io())),
                _ => {}
            }
        }
    }
}

/// The messages in one datagram; what cannot be parsed is passed over.
pub(super) fn messages(
    mut datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
            let whole = datagram
                .get(..length)
                .filter(|whole| whole.len() >= HEADER)?;
            // Each message begins at a multiple of four bytes.
            datagram = datagram
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
            if let Ok(message) = NetlinkMessage::deserialize(whole) {
                return Some(message);
            }
        }
    })
}

/// Bytes of a message's header.
const HEADER: usize = 16;

fn request_for_links() -> Vec<u8> {
    let mut request = NetlinkMessage::new(
        NetlinkHeader::default(),
        NetlinkPayload::from(RouteNetlinkMessage::GetLink(LinkMessage::default())),
    );
    request.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

fn attached(link: &LinkMessage) -> Option<Attached> {
    let xdp = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        })?;
    let mode = xdp.iter().find_map(|fact| match fact {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        _ => None,
    })?;
    let id = xdp.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    Some(Attached {
        interface: link.header.index,
        mode,
        id,
    })
}
