//! The built eBPF object, loaded into the kernel.

use aya::{Ebpf, EbpfLoader, include_bytes_aligned, programs::Xdp};

use super::{Error, pins::Pins};

/// What `cargo xtask build-ebpf` built; the build script put it here.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The program that steers.
pub(super) const PROGRAM: &str = "lb";

/// Makes the maps, or opens those that are pinned, and loads the program.
pub(super) fn load(pins: &Pins, max_flows: u32) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("flows_v4", max_flows);
    for (name, path) in pins.maps() {
        loader.map_pin_path(name, path);
    }
    let mut loaded = loader.load(OBJECT).map_err(|error| {
        Error::of(
            "cannot make the maps of the XDP program in the kernel",
            &error,
        )
    })?;
    program(&mut loaded)?.load().map_err(|error| {
        Error::of(
            "the kernel's verifier refused the XDP program; please report this",
            &error,
        )
    })?;
    Ok(loaded)
}

/// The program that steers, in the loaded object.
pub(super) fn program(loaded: &mut Ebpf) -> Result<&mut Xdp, Error> {
    loaded
        .program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Error::new(format!("the built object has no XDP program \"{PROGRAM}\"")))
}
