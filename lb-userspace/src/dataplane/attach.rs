//! Attaches the XDP program to its interfaces, or replaces the program of an earlier agent
//! atomically.

use std::{fs, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf,
    programs::{
        ProgramError, Xdp, XdpMode as Attach,
        links::FdLink,
        xdp::{XdpLink, XdpLinkId},
    },
};

use super::{
    Error,
    adopt::{self, Adopted},
    attached::attached_programs,
    fallback::{self, Device},
    host::Interface,
    object,
    pins::Pins,
};
use crate::{
    config::XdpModeChoice,
    netlink::{self, XdpMode},
};

/// An interface that the XDP program is attached to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The name of the interface.
    pub interface: String,
    /// The mode in which the program is attached.
    pub mode: XdpMode,
}

/// Attaches the XDP program to each of these interfaces, or replaces the program of an earlier
/// agent there, and pins the program and the links. All interfaces get the same mode: a driver on
/// which native XDP is not in use may not accept packets that native XDP redirects to it. Links to
/// other interfaces are not changed.
pub(super) fn attach(
    loaded: &mut Ebpf,
    interfaces: &[Interface],
    choice: XdpModeChoice,
    pins: &Pins,
) -> Result<Vec<Attachment>, Error> {
    let program = object::program(loaded)?;
    let (adopted, missing) = adopt::links(pins, interfaces)?;
    let mode = adopt::mode(&adopted, choice)?;
    let links = attach_missing(program, &missing, mode, choice)?;
    let attached = pin_links(program, &missing, links, pins)
        .and_then(|()| replace(program, adopted))
        .and_then(|()| pin_program(program, &pins.program()))
        .and_then(|()| described(interfaces));
    if attached.is_err() {
        for interface in &missing {
            // Removing the pin of a new XDP link detaches the program; a link without a pin is
            // detached already.
            let _removed = fs::remove_file(pins.link(interface.index));
        }
    }
    attached
}

/// Asks the kernel in which XDP mode the program is attached to each of these interfaces.
fn described(interfaces: &[Interface]) -> Result<Vec<Attachment>, Error> {
    let programs = attached_programs()?;
    let described = interfaces.iter().map(|interface| {
        let found = programs
            .iter()
            .find(|attached| attached.interface == interface.index);
        match found {
            Some(found) => Ok(Attachment {
                interface: interface.name.clone(),
                mode: found.program.mode,
            }),
            None => Err(Error::NotAttached(interface.name.clone())),
        }
    });
    described.collect()
}

/// Replaces the program of each adopted XDP link by `program`.
fn replace(program: &mut Xdp, adopted: Vec<Adopted>) -> Result<(), Error> {
    let failed = |error: ProgramError| {
        Error::kernel("cannot replace the pinned program by that of this version")(error)
    };
    for Adopted { link, .. } in adopted {
        let id = program.attach_to_link(link).map_err(failed)?;
        // Only the pin keeps the XDP link after this, so `lb unload` removes the link even if
        // another process has it open.
        drop(program.take_link(id).map_err(failed)?);
    }
    Ok(())
}

/// Attaches the program to interfaces that do not have it yet: in `mode` if other interfaces have
/// the program already, otherwise in the first mode of `choice` that all of these interfaces
/// accept.
fn attach_missing(
    program: &mut Xdp,
    interfaces: &[Interface],
    mode: Option<XdpMode>,
    choice: XdpModeChoice,
) -> Result<Vec<XdpLinkId>, Error> {
    let modes: &[XdpMode] = match (mode, choice) {
        (Some(XdpMode::Native), _) | (None, XdpModeChoice::Native) => &[XdpMode::Native],
        (Some(XdpMode::Generic), _) | (None, XdpModeChoice::Generic) => &[XdpMode::Generic],
        (None, XdpModeChoice::Auto) => &[XdpMode::Native, XdpMode::Generic],
    };
    let mut refusals = Vec::new();
    for &mode in modes {
        match attach_to_all(program, interfaces, mode) {
            Ok(links) => {
                refusals.iter().for_each(Refusal::warn);
                return Ok(links);
            }
            Err(refused) => refusals.extend(refused),
        }
        if let Some(busy) = refusals.iter().find(|refusal| refusal.busy) {
            return Err(Error::InterfaceTaken(busy.interface.name.clone()));
        }
    }
    let sentences: Vec<String> = refusals.iter().map(Refusal::sentence).collect();
    Err(Error::AttachRefused(sentences))
}

/// Attaches the program to all of these interfaces, or to none of them.
fn attach_to_all(
    program: &mut Xdp,
    interfaces: &[Interface],
    mode: XdpMode,
) -> Result<Vec<XdpLinkId>, Vec<Refusal>> {
    let how = match mode {
        XdpMode::Native => Attach::Driver,
        XdpMode::Generic => Attach::Skb,
    };
    let (mut links, mut refusals) = (Vec::new(), Vec::new());
    for interface in interfaces {
        match program.attach_to_if_index(interface.index, how) {
            Ok(link) => links.push(link),
            Err(error) => refusals.push(Refusal::new(interface, mode, &error, program)),
        }
    }
    if refusals.is_empty() {
        return Ok(links);
    }
    for link in links {
        // Closing the XDP link detaches the program from its interface.
        let _detached = program.detach(link);
    }
    Err(refusals)
}

/// Why an interface refuses the XDP program.
struct Refusal {
    interface: Interface,
    mode: XdpMode,
    reason: String,
    /// Whether the reason is that another program is attached to the interface.
    busy: bool,
}

impl Refusal {
    fn new(interface: &Interface, mode: XdpMode, error: &ProgramError, program: &Xdp) -> Self {
        let busy = matches!(error, ProgramError::SyscallError(call)
            if call.io_error.raw_os_error() == Some(libc::EBUSY));
        let words = match (mode, program.fd()) {
            (XdpMode::Native, Ok(program)) if !busy => {
                netlink::why_native_is_refused(interface.index, program.as_fd())
                    .ok()
                    .flatten()
            }
            _ => None,
        };
        let reason = words.unwrap_or_else(|| match error {
            ProgramError::SyscallError(call) => call.io_error.to_string(),
            other => other.to_string(),
        });
        Self {
            interface: interface.clone(),
            mode,
            reason,
            busy,
        }
    }

    fn warn(&self) {
        let name = &self.interface.name;
        let remedy = fallback::remedy(name, &Device::of(&self.interface));
        tracing::warn!(
            interface = %name,
            reason = %self.reason,
            %remedy,
            "native XDP is refused: the program is attached in generic mode to every interface, \
             which needs several times the CPU time per packet"
        );
    }

    fn sentence(&self) -> String {
        let Self { mode, reason, .. } = self;
        format!(
            "cannot attach the XDP program to {} in {} mode: {reason}",
            self.interface.name,
            mode.as_str()
        )
    }
}

fn pin_links(
    program: &mut Xdp,
    interfaces: &[Interface],
    links: Vec<XdpLinkId>,
    pins: &Pins,
) -> Result<(), Error> {
    for (interface, id) in interfaces.iter().zip(links) {
        let path = pins.link(interface.index);
        let link: XdpLink = program
            .take_link(id)
            .map_err(Error::path("cannot pin the XDP link as", &path))?;
        let link =
            FdLink::try_from(link).map_err(Error::path("cannot pin the XDP link as", &path))?;
        link.pin(&path)
            .map_err(Error::path("cannot pin the XDP link as", &path))?;
    }
    Ok(())
}

/// Pins the program so that `bpftool` shows the pin; the pinned links alone would keep the program
/// loaded.
fn pin_program(program: &mut Xdp, path: &Path) -> Result<(), Error> {
    let failed = "cannot pin the program as";
    if path.exists() {
        fs::remove_file(path).map_err(Error::path(failed, path))?;
    }
    program.pin(path).map_err(Error::path(failed, path))
}
