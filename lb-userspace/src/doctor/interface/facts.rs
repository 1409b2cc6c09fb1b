//! Reads the properties of an interface from the kernel.

use std::{fs, path::Path};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{Facts, Link};
use crate::{
    dataplane::survey,
    netlink::{self, Rtnetlink},
};

/// Reads the properties of the interface with this name. `pin_path` is the folder with the pin of
/// lb's XDP program, by which that program is recognised.
pub(in crate::doctor) fn read(name: &str, pin_path: &Path) -> Facts {
    let index = nix::net::if_::if_nametoindex(name).ok();
    Facts {
        name: name.to_owned(),
        present: index.map_or_else(interfaces, |_| Vec::new()),
        link: index.map(|index| link(name, index, pin_path)),
    }
}

fn interfaces() -> Vec<String> {
    let all = nix::net::if_::if_nameindex();
    let names = all.map(|all| {
        let names = all
            .iter()
            .map(|one| one.name().to_string_lossy().into_owned());
        names.filter(|name| name != "lo").collect()
    });
    names.unwrap_or_default()
}

fn link(name: &str, index: u32, pin_path: &Path) -> Link {
    let message = message(index).unwrap_or_default();
    let mtu = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
    Link {
        is_up: message.header.flags.contains(LinkFlags::Up),
        has_carrier: message.header.flags.contains(LinkFlags::LowerUp),
        driver: driver(name).or_else(|| kind(&message)),
        mtu,
        program: survey::installed_program(index, pin_path).ok().flatten(),
        device: netlink::device(index).unwrap_or_default(),
        remedy: survey::remedy_for_native(name, index),
    }
}

fn message(index: u32) -> Option<LinkMessage> {
    let mut wanted = LinkMessage::default();
    wanted.header.index = index;
    let mut kernel = Rtnetlink::open().ok()?;
    match kernel.one(RouteNetlinkMessage::GetLink(wanted)).ok()? {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    }
}

/// Returns the name of the driver of a physical interface; `None` for other interfaces.
fn driver(name: &str) -> Option<String> {
    let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok()?;
    Some(driver.file_name()?.to_str()?.to_owned())
}

/// Returns the kind of a virtual interface, such as `veth`; `None` for other interfaces.
fn kind(link: &LinkMessage) -> Option<String> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
                LinkInfo::Kind(kind) => Some(kind.to_string()),
                _ => None,
            }),
            _ => None,
        })
}
