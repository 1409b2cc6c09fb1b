//! The built eBPF object, loaded into the kernel.

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, MapError, ProgramArray},
    programs::{ProgramError, Xdp},
};
use lb_common::steer::Part;

use super::{Error, pins::Pins};

/// What `cargo xtask build-ebpf` built; the build script put it here.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The program that steers.
pub(super) const PROGRAM: &str = "lb";

/// The programs that it hands packets on to.
const PARTS: [(&str, Part); 2] = [("lb_changing", Part::Changing), ("lb_new", Part::New)];

/// Makes the maps, or opens those that are pinned, and loads the programs. `entries` is the size of
/// the connection table.
pub(super) fn load(pins: &Pins, entries: u32) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("connections", entries);
    let weakly_ordered = u8::from(!cfg!(target_arch = "x86_64"));
    loader.override_global("WEAKLY_ORDERED", &weakly_ordered, true);
    for (name, path) in pins.maps() {
        loader.map_pin_path(name, path);
    }
    let mut loaded = loader.load(OBJECT).map_err(|error| {
        Error::of(
            "cannot make the maps of the XDP program in the kernel",
            &error,
        )
    })?;
    for (name, part) in PARTS {
        accept(&mut loaded, name)?;
        let failed = |error: MapError| Error::of("cannot write the map programs", &error);
        let fd = loaded_program(&mut loaded, name)?
            .fd()
            .and_then(|fd| fd.try_clone().map_err(ProgramError::IOError))
            .map_err(|error| Error::of("cannot refer to a program in the kernel", &error))?;
        let map = loaded
            .map_mut("programs")
            .ok_or_else(|| Error::new("the built object has no map \"programs\"".to_owned()))?;
        let mut programs: ProgramArray<&mut MapData> = map.try_into().map_err(failed)?;
        programs.set(part as u32, &fd, 0).map_err(failed)?;
    }
    accept(&mut loaded, PROGRAM)?;
    Ok(loaded)
}

fn accept(loaded: &mut Ebpf, name: &str) -> Result<(), Error> {
    loaded_program(loaded, name)?.load().map_err(|error| {
        Error::of(
            &format!("the kernel's verifier refused the XDP program {name}; please report this"),
            &error,
        )
    })
}

/// The program that steers, in the loaded object.
pub(super) fn program(loaded: &mut Ebpf) -> Result<&mut Xdp, Error> {
    loaded_program(loaded, PROGRAM)
}

fn loaded_program<'a>(loaded: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    loaded
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::new(format!("the built object has no XDP program \"{name}\"")))
}
