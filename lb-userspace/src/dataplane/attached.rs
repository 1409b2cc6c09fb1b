//! Lists the XDP programs that are attached to interfaces.

use std::io;

use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};

use super::Error;
use crate::netlink::{Rtnetlink, XdpProgram};

/// An XDP program and the index of the interface that it is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AttachedProgram {
    pub(super) interface: u32,
    pub(super) program: XdpProgram,
}

/// Lists all XDP programs that are attached in this network namespace.
pub(super) fn attached_programs() -> Result<Vec<AttachedProgram>, Error> {
    let failed = |error: io::Error| Error::kernel("cannot list the interfaces")(error);
    let mut kernel = Rtnetlink::open().map_err(failed)?;
    let everything = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let links = kernel.list(everything).map_err(failed)?;
    Ok(links.iter().filter_map(attached).collect())
}

fn attached(message: &RouteNetlinkMessage) -> Option<AttachedProgram> {
    let RouteNetlinkMessage::NewLink(link) = message else {
        return None;
    };
    Some(AttachedProgram {
        interface: link.header.index,
        program: XdpProgram::of(link)?,
    })
}
