//! Facts about the host that steering depends on, read without changing anything: for `lb doctor`.

use std::{io, ops::RangeInclusive, path::Path};

use aya::programs::ProgramInfo;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{
    attached::attached_programs,
    entries,
    fallback::{self, Device},
    host::{self, Interface},
    pins::Pins,
    ports::PortSet,
};
use crate::netlink::XdpMode;

/// The XDP program of an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct InstalledProgram {
    /// The kernel's id of the program.
    pub(crate) id: u32,
    /// The name of the program; `None` if it cannot be read.
    pub(crate) name: Option<String>,
    /// The mode in which the program is attached: by the driver or by the network stack.
    pub(crate) mode: XdpMode,
    /// Whether the program is the one that an agent has pinned below the pin path.
    pub(crate) is_ours: bool,
}

/// Returns whether pins can be made at this path: whether the folder above is in a BPF file system.
pub(crate) fn is_on_bpf_file_system(pin_path: &Path) -> bool {
    let parent = pin_path.parent().unwrap_or(pin_path);
    statfs(parent).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Returns why an agent would refuse to adopt the pinned maps; `None` if it would adopt them, or
/// there are none.
pub(crate) fn refusal_of_pins(pin_path: &Path, max_connections: u32) -> Option<String> {
    let pins = Pins::at(pin_path);
    let checked = pins
        .exist()
        .then(|| pins.check_layout(entries(max_connections)));
    checked?.err().map(|error| error.to_string())
}

/// Returns the XDP program of an interface; `None` without one.
///
/// # Errors
/// The kernel does not list the interfaces.
pub(crate) fn installed_program(
    interface: u32,
    pin_path: &Path,
) -> io::Result<Option<InstalledProgram>> {
    let programs = attached_programs().map_err(io::Error::other)?;
    let found = programs.iter().find(|one| one.interface == interface);
    Ok(found.map(|found| {
        let id = found.program.id;
        let ours = ProgramInfo::from_pin(Pins::at(pin_path).program());
        InstalledProgram {
            id,
            name: name_of(id),
            mode: found.program.mode,
            is_ours: ours.is_ok_and(|ours| ours.id() == id),
        }
    }))
}

fn name_of(id: u32) -> Option<String> {
    let programs = aya::programs::loaded_programs().flatten();
    let mut found = programs.filter(|program| program.id() == id);
    let name = found.next()?.name_as_str().map(str::to_owned);
    name.filter(|name| !name.is_empty())
}

/// Returns what the operator can do about an interface without native XDP, as sentences.
pub(crate) fn remedy_for_native(name: &str, index: u32) -> String {
    let interface = Interface {
        name: name.to_owned(),
        index,
    };
    fallback::remedy(name, &Device::of(&interface))
}

/// Returns the capabilities that the data plane needs and the bit mask `effective` lacks, each with
/// what it is needed for.
pub(crate) fn missing_privileges(effective: u64) -> Vec<String> {
    host::missing_of(effective)
}

/// Returns the ports that an agent would use for NAT if it started now, and would reserve, so that
/// the kernel gives them to no other program.
pub(crate) fn ports_for_nat(configured: &RangeInclusive<u16>) -> Vec<RangeInclusive<u16>> {
    PortSet::unused_of(configured).ranges()
}
