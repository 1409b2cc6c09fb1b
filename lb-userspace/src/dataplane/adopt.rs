//! Adopts the XDP links that an earlier agent pinned.

use std::{fs, path::Path};

use aya::programs::{
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{
    Error,
    attached::{AttachedProgram, attached_programs},
    host::Interface,
    pins::Pins,
};
use crate::{config::XdpModeChoice, netlink::XdpMode};

/// A pinned XDP link, opened, whose interface still exists.
pub(super) struct Adopted {
    pub(super) link: XdpLink,
    interface: String,
    mode: XdpMode,
}

/// Opens the pinned XDP links to these interfaces. Returns the links, and the interfaces that have
/// no pinned link. If the interface of a link was removed, the link's pin is deleted.
pub(super) fn links(
    pins: &Pins,
    interfaces: &[Interface],
) -> Result<(Vec<Adopted>, Vec<Interface>), Error> {
    let (mut adopted, mut missing) = (Vec::new(), Vec::new());
    for interface in interfaces {
        match adoptable(&pins.link(interface.index), interface)? {
            Some(link) => adopted.push(link),
            None => missing.push(interface.clone()),
        }
    }
    Ok((adopted, missing))
}

/// Detaches the program of an earlier agent from all interfaces that are not among `interfaces`.
pub(super) fn release_others(pins: &Pins, interfaces: &[Interface]) -> Result<(), Error> {
    for (index, path) in pins.links() {
        if interfaces.iter().any(|interface| interface.index == index) {
            continue;
        }
        let name = nix::net::if_::if_indextoname(index).map_or_else(
            |_gone| format!("interface {index}"),
            |name| name.to_string_lossy().into_owned(),
        );
        remove(&path)?;
        tracing::info!(interface = %name, "detached the XDP program: interface removed from the configuration");
    }
    Ok(())
}

/// Returns the XDP mode of the adopted links; `None` if no link was adopted.
///
/// # Errors
/// The mode of a link differs from the configured one.
pub(super) fn mode(adopted: &[Adopted], choice: XdpModeChoice) -> Result<Option<XdpMode>, Error> {
    for one in adopted {
        keeps_to(choice, one)?;
        if choice == XdpModeChoice::Auto && one.mode == XdpMode::Generic {
            tracing::warn!(
                interface = %one.interface,
                "the program stays attached in generic mode, as an earlier agent attached it: to \
                 try native mode, run `lb unload`, which ends all flows, before the next start"
            );
        }
    }
    Ok(adopted.first().map(|one| one.mode))
}

const OPEN_LINK: &str = "cannot open the pinned link";

/// Opens a pinned XDP link; `None` if there is no such pin, or the link no longer belongs to this
/// interface.
fn adoptable(path: &Path, interface: &Interface) -> Result<Option<Adopted>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let pinned = PinnedLink::from_pin(path).map_err(Error::path(OPEN_LINK, path))?;
    let link = FdLink::from(pinned);
    let Some(found) = attached_to(&link, interface)? else {
        remove(path)?;
        return Ok(None);
    };
    let link = XdpLink::try_from(link).map_err(Error::path(OPEN_LINK, path))?;
    Ok(Some(Adopted {
        link,
        interface: interface.name.clone(),
        mode: found.program.mode,
    }))
}

/// Returns the program of an XDP link as it is attached to the interface; `None` if it no longer
/// is.
fn attached_to(link: &FdLink, interface: &Interface) -> Result<Option<AttachedProgram>, Error> {
    let info = link
        .info()
        .map_err(Error::kernel("cannot query the pinned link"))?;
    let attached = attached_programs()?;
    Ok(attached.into_iter().find(|attached| {
        attached.interface == interface.index && attached.program.id == info.program_id()
    }))
}

/// Returns an error if an adopted XDP link has another mode than the configured one: a link cannot
/// change its mode.
fn keeps_to(choice: XdpModeChoice, adopted: &Adopted) -> Result<(), Error> {
    let (configured, attached) = match (choice, adopted.mode) {
        (XdpModeChoice::Native, XdpMode::Generic) => ("native", "generic"),
        (XdpModeChoice::Generic, XdpMode::Native) => ("generic", "native"),
        _ => return Ok(()),
    };
    Err(Error::ModeChanged {
        configured,
        interface: adopted.interface.clone(),
        attached,
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::path("cannot remove the pinned link", path))
}
