//! The XDP program that is attached to an interface, as the kernel describes it (linux/if_link.h,
//! `IFLA_XDP`).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use netlink_packet_core::{NLM_F_ACK, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
};

use super::{Rtnetlink, messages};

/// The mode in which an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// The driver runs the program.
    Native,
    /// The network stack runs the program, after the driver.
    Generic,
}

impl XdpMode {
    /// Returns the name of the mode: `native` or `generic`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct XdpProgram {
    /// The ID that the kernel gave the program.
    pub(crate) id: u32,
    pub(crate) mode: XdpMode,
}

impl XdpProgram {
    /// Returns the XDP program that is attached to a link; `None` if none is.
    pub(crate) fn of(link: &LinkMessage) -> Option<Self> {
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
        Some(Self { id, mode })
    }
}

/// Flags of a request to attach an XDP program: only if no program is attached yet (`NOEXIST`), and
/// in the driver (linux/if_link.h, `XDP_FLAGS_*`).
const FLAGS_IF_NOEXIST: u32 = 1 << 0;
const FLAGS_DRIVER: u32 = 1 << 2;

/// Returns the message with which the driver or the kernel refuses to attach this XDP program in
/// the driver; `None` if it gives no message.
///
/// The system call that attaches programs returns an error number only. The same attempt by netlink
/// returns a message (netlink(7), `NETLINK_EXT_ACK`); if that attempt succeeds, the program is
/// detached immediately.
///
/// # Errors
/// The netlink request fails.
pub(crate) fn why_native_is_refused(
    interface: u32,
    program: BorrowedFd<'_>,
) -> io::Result<Option<String>> {
    let mut kernel = Rtnetlink::open()?;
    kernel.socket.set_ext_ack(true)?;
    kernel.send(set_program(interface, program.as_raw_fd()), NLM_F_ACK)?;
    loop {
        let (datagram, _from) = kernel.socket.recv_from_full()?;
        for message in messages(&datagram) {
            let NetlinkPayload::Error(answer) = message.payload else {
                continue;
            };
            if answer.code.is_some() {
                return Ok(words(&answer.header));
            }
            const NONE: i32 = -1;
            kernel.change(set_program(interface, NONE), 0)?;
            return Ok(None);
        }
    }
}

fn set_program(interface: u32, program: i32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = interface;
    let flags = match program {
        0.. => FLAGS_DRIVER | FLAGS_IF_NOEXIST,
        _ => FLAGS_DRIVER,
    };
    link.attributes = vec![LinkAttribute::Xdp(vec![
        LinkXdp::Fd(program),
        LinkXdp::Flags(flags),
    ])];
    RouteNetlinkMessage::SetLink(link)
}

/// Extracts the message from a netlink error. After the error code, the error has the request and
/// then attributes; attribute 1 is the message (linux/netlink.h, `NLMSGERR_ATTR_MSG`).
fn words(answer: &[u8]) -> Option<String> {
    const MESSAGE: u16 = 1;
    let request = usize::try_from(u32::from_ne_bytes(*answer.first_chunk()?)).ok()?;
    let mut attributes = answer.get(request.next_multiple_of(4)..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..length)?;
        if kind == MESSAGE {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_an_error_is_found_behind_the_request() {
        let request = [
            18_u8, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0,
        ];
        let offset = [8_u8, 0, 2, 0, 7, 0, 0, 0];
        let sentence = [9_u8, 0, 1, 0, b'w', b'h', b'y', b'!', 0, 0, 0, 0];
        let answer = [&request[..], &offset, &sentence].concat();
        assert_eq!(words(&answer).as_deref(), Some("why!"));
        assert_eq!(words(&answer[..28]), None);
        assert_eq!(words(&answer[..35]), None);
        assert_eq!(words(&[]), None);
    }
}
