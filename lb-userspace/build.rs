//! Copies the eBPF object to `OUT_DIR/lb-ebpf.o`, where `include_bytes!` reads it.
//!
//! It does not build the object, which needs another toolchain: `cargo xtask build-ebpf` does. It
//! looks for the object in cargo's target directory, or at the path in `LB_EBPF_OBJECT`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const NAME: &str = "lb-ebpf.o";
const OVERRIDE: &str = "LB_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    if let Err(sentence) = place_object() {
        println!("cargo::error={sentence}");
    }
}

fn place_object() -> Result<(), String> {
    let out = env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or("OUT_DIR is not set: this is a build script, run `cargo build`")?;
    let object = match env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => built_object(&out).ok_or(
            "the eBPF object has not been built: run `cargo xtask build-ebpf`, then build again",
        )?,
    };
    copy(&object, &out.join(NAME)).map_err(|error| {
        let path = object.display();
        format!("cannot copy the eBPF object {path} ({error}): run `cargo xtask build-ebpf`")
    })?;
    println!("cargo::rerun-if-changed={}", object.display());
    Ok(())
}

/// Finds `ebpf/lb-ebpf.o` in the target directory, an ancestor of `OUT_DIR` whose distance depends
/// on the profile and on `--target`.
fn built_object(out: &Path) -> Option<PathBuf> {
    out.ancestors()
        .map(|directory| directory.join("ebpf").join(NAME))
        .find(|object| object.is_file())
}

/// Copies the contents but not the mode, so that the copy stays writable for the next build.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, fs::read(from)?)
}
