//! Puts the eBPF object where `include_bytes!` finds it: `OUT_DIR/lb-ebpf.o`.
//!
//! It does not build the object: that takes another compiler, and `cargo xtask build-ebpf` knows
//! how. It looks in the directory that cargo builds in, or where `LB_EBPF_OBJECT` says.

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
        .ok_or("this is cargo's build script: run `cargo build`")?;
    let object = match env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => built_object(&out).ok_or(
            "the eBPF object has not been built: run `cargo xtask build-ebpf`, then build again",
        )?,
    };
    copy(&object, &out.join(NAME)).map_err(|error| {
        let path = object.display();
        format!("the eBPF object {path} cannot be read ({error}): run `cargo xtask build-ebpf`")
    })?;
    println!("cargo::rerun-if-changed={}", object.display());
    Ok(())
}

/// `ebpf/lb-ebpf.o` in the target directory, which is one of the directories above `OUT_DIR`: how
/// far above depends on the profile and on `--target`.
fn built_object(out: &Path) -> Option<PathBuf> {
    out.ancestors()
        .map(|directory| directory.join("ebpf").join(NAME))
        .find(|object| object.is_file())
}

/// Copies the contents alone, so that the copy can be overwritten whatever the object's mode.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::write(to, fs::read(from)?)
}
