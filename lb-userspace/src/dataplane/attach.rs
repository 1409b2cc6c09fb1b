//! The program on its interface: attached anew, or put atomically in an earlier one's place.

use std::{fs, path::Path};

use aya::{
    Ebpf,
    programs::{
        ProgramError, Xdp, XdpMode as Attach,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};

use super::{
    Error,
    attached::{Attached, attached_programs},
    host::Interface,
    object,
    pins::Pins,
};
use crate::{config::XdpModeChoice, netlink::XdpMode};

/// Attaches the program and pins program and link; returns how it is attached.
pub(super) fn attach(
    loaded: &mut Ebpf,
    interface: &Interface,
    choice: XdpModeChoice,
    pins: &Pins,
) -> Result<XdpMode, Error> {
    let program = object::program(loaded)?;
    if let Some(link) = adoptable(&pins.link(), interface, choice)? {
        let failed = |error: ProgramError| {
            Error::of(
                "cannot put this version of the program in place of the pinned one",
                &error,
            )
        };
        let id = program.attach_to_link(link).map_err(failed)?;
        // The pin alone keeps the link: `lb unload` removes it, whoever else has it open.
        drop(program.take_link(id).map_err(failed)?);
    } else {
        let id = attach_anew(program, interface, choice)?;
        pin_link(program, id, &pins.link())?;
    }
    pin_program(program, &pins.program())?;
    attached_programs()?
        .into_iter()
        .find(|attached| attached.interface == interface.index)
        .map(|attached| attached.program.mode)
        .ok_or_else(|| {
            Error::new(format!(
                "the XDP program was attached to {}, but the kernel says that none is there",
                interface.name
            ))
        })
}

/// The pinned link, if it is still one to this interface.
fn adoptable(
    path: &Path,
    interface: &Interface,
    choice: XdpModeChoice,
) -> Result<Option<XdpLink>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let attempt = format!("cannot open the pinned link {}", path.display());
    let pinned = PinnedLink::from_pin(path).map_err(|error| Error::of(&attempt, &error))?;
    let link = FdLink::from(pinned);
    match attached_to(&link)? {
        Some(found) if found.interface == interface.index => {
            keeps_to(choice, found.program.mode)?;
            XdpLink::try_from(link)
                .map(Some)
                .map_err(|error| Error::of(&attempt, &error))
        }
        // The interface is gone, and the link with it: the pin is an empty shell.
        None => {
            fs::remove_file(path).map_err(|error| {
                Error::of(
                    &format!("cannot remove the dead link {}", path.display()),
                    &error,
                )
            })?;
            Ok(None)
        }
        Some(_other) => Err(Error::new(format!(
            "an earlier agent attached the program to another interface than {}: run `lb unload` \
             first, which ends the flows there",
            interface.name
        ))),
    }
}

/// Refuses to go on in another mode than the configuration wants: a link keeps its mode.
fn keeps_to(choice: XdpModeChoice, mode: XdpMode) -> Result<(), Error> {
    let (wanted, found) = match (choice, mode) {
        (XdpModeChoice::Native, XdpMode::Generic) => ("native", "generic"),
        (XdpModeChoice::Generic, XdpMode::Native) => ("generic", "native"),
        _ => return Ok(()),
    };
    Err(Error::new(format!(
        "xdp_mode is {wanted}, but the program that is pinned is attached in {found} mode, which \
         cannot change while it forwards: run `lb unload` first, which ends all flows"
    )))
}

/// Where a link attaches its program, if it still does.
fn attached_to(link: &FdLink) -> Result<Option<Attached>, Error> {
    let info = link
        .info()
        .map_err(|error| Error::of("cannot ask the kernel about the pinned link", &error))?;
    let attached = attached_programs()?;
    Ok(attached
        .into_iter()
        .find(|attached| attached.program.id == info.program_id()))
}

/// Native where the driver has it, generic where it does not, as the configuration allows.
fn attach_anew(
    program: &mut Xdp,
    interface: &Interface,
    choice: XdpModeChoice,
) -> Result<XdpLinkId, Error> {
    let modes: &[Attach] = match choice {
        XdpModeChoice::Auto => &[Attach::Driver, Attach::Skb],
        XdpModeChoice::Native => &[Attach::Driver],
        XdpModeChoice::Generic => &[Attach::Skb],
    };
    let mut refusals = Vec::new();
    for &mode in modes {
        match program.attach_to_if_index(interface.index, mode) {
            Ok(id) => return Ok(id),
            Err(error) => refusals.push((mode, error)),
        }
    }
    Err(refused(interface, &refusals))
}

fn refused(interface: &Interface, refusals: &[(Attach, ProgramError)]) -> Error {
    let busy = |error: &ProgramError| {
        matches!(error, ProgramError::SyscallError(call)
            if call.io_error.raw_os_error() == Some(libc::EBUSY))
    };
    let name = &interface.name;
    if refusals.iter().any(|(_mode, error)| busy(error)) {
        return Error::new(format!(
            "another XDP program is attached to {name}; see `bpftool net show dev {name}`, and \
             remove it with `ip link set dev {name} xdp off`"
        ));
    }
    let words: Vec<String> = refusals
        .iter()
        .map(|(mode, error)| {
            let mode = if *mode == Attach::Driver {
                "native"
            } else {
                "generic"
            };
            Error::of(mode, error).to_string()
        })
        .collect();
    Error::new(format!(
        "the XDP program cannot be attached to {name} ({})",
        words.join("; ")
    ))
}

fn pin_link(program: &mut Xdp, id: XdpLinkId, path: &Path) -> Result<(), Error> {
    let attempt = format!("cannot pin the link as {}", path.display());
    let link = program
        .take_link(id)
        .map_err(|error| Error::of(&attempt, &error))?;
    let link = FdLink::try_from(link).map_err(|error| Error::of(&attempt, &error))?;
    link.pin(path)
        .map_err(|error| Error::of(&attempt, &error))?;
    Ok(())
}

/// Pins the program for `bpftool`; the link alone keeps it alive.
fn pin_program(program: &mut Xdp, path: &Path) -> Result<(), Error> {
    let attempt = format!("cannot pin the program as {}", path.display());
    if path.exists() {
        fs::remove_file(path).map_err(|error| Error::of(&attempt, &error))?;
    }
    program
        .pin(path)
        .map_err(|error| Error::of(&attempt, &error))
}
