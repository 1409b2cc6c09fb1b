//! Loads the built eBPF object into the kernel.

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, MapError, ProgramArray},
    programs::{ProgramError, Xdp},
};
use lb_common::steer::Part;

use super::{Error, pins::Pins};

/// The eBPF object that `cargo xtask build-ebpf` makes. The build script copies it to this path.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The name of the main XDP program, which is attached to interfaces.
pub(super) const PROGRAM: &str = "lb";

/// The programs to which the main program passes packets by tail calls, each with its index in the
/// map `programs`.
const PARTS: [(&str, Part); 2] = [("lb_changing", Part::Changing), ("lb_new", Part::New)];

/// Creates the maps, or opens those that are pinned, and loads the programs. `entries` is the
/// number of entries of the connection table.
pub(super) fn load(pins: &Pins, entries: u32) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("connections", entries);
    let weakly_ordered = u8::from(!cfg!(target_arch = "x86_64"));
    loader.override_global("WEAKLY_ORDERED", &weakly_ordered, true);
    for (name, path) in pins.maps() {
        loader.map_pin_path(name, path);
    }
    let mut loaded = loader.load(OBJECT).map_err(Error::kernel(
        "cannot create the maps of the XDP program in the kernel",
    ))?;
    for (name, part) in PARTS {
        accept(&mut loaded, name)?;
        let failed = Error::write_map::<MapError>("programs");
        let fd = loaded_program(&mut loaded, name)?
            .fd()
            .and_then(|fd| fd.try_clone().map_err(ProgramError::IOError))
            .map_err(Error::kernel("cannot refer to a program in the kernel"))?;
        let map = loaded
            .map_mut("programs")
            .ok_or_else(|| Error::missing_map("programs"))?;
        let mut programs: ProgramArray<&mut MapData> = map.try_into().map_err(failed)?;
        programs.set(part as u32, &fd, 0).map_err(failed)?;
    }
    accept(&mut loaded, PROGRAM)?;
    Ok(loaded)
}

fn accept(loaded: &mut Ebpf, name: &str) -> Result<(), Error> {
    loaded_program(loaded, name)?
        .load()
        .map_err(|error| Error::Verifier {
            program: name.to_owned(),
            source: error.into(),
        })
}

/// Returns the main XDP program of the loaded object.
pub(super) fn program(loaded: &mut Ebpf) -> Result<&mut Xdp, Error> {
    loaded_program(loaded, PROGRAM)
}

fn loaded_program<'a>(loaded: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    loaded
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::missing_program(name))
}
