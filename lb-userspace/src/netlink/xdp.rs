//! The XDP program of an interface, as the kernel describes it (linux/if_link.h, `IFLA_XDP`).

use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

/// How the program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

impl XdpMode {
    /// The mode in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct XdpProgram {
    /// The program's number.
    pub(crate) id: u32,
    pub(crate) mode: XdpMode,
}

impl XdpProgram {
    /// The program on a link; `None`: there is none.
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
