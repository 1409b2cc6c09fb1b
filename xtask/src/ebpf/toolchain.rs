//! Which compiler builds for the kernel.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::child;

/// The target: eBPF, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The linker's version that this repository is built and tested with.
pub(crate) const BPF_LINKER: &str = "0.13.0";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// The first of Debian's compilers that has a `core` for eBPF beside it.
const DEBIAN_OLDEST: (u32, u32) = (1, 96);

/// A cargo and a rustc that can build for [`TARGET`], and the linker.
pub(crate) struct Toolchain {
    compiler: Compiler,
    /// What the compiler says of itself.
    version: String,
    unaligned_loads: bool,
}

enum Compiler {
    /// Debian's stable compiler, with `core` already compiled for eBPF.
    Debian,
    /// rustup's nightly, which compiles `core` from its source.
    Nightly,
}

/// The toolchain that this machine has: Debian's where both are there, as it needs no nightly.
///
/// # Errors
/// Neither compiler, or no linker.
pub(crate) fn find() -> anyhow::Result<Toolchain> {
    let unaligned_loads = linker_knows_unaligned_loads()?;
    let debian = debian();
    let nightly = if debian.is_err() {
        Some(nightly())
    } else {
        None
    };
    let (compiler, version) = match (debian, nightly) {
        (Ok(version), _) => (Compiler::Debian, version),
        (_, Some(Ok(version))) => (Compiler::Nightly, version),
        (Err(debian), nightly) => bail!(
            "no compiler for {TARGET} was found: {debian:#}; {}: run `cargo xtask setup`",
            match nightly {
                Some(Err(nightly)) => format!("{nightly:#}"),
                _ => "rustup's nightly was not looked for".to_owned(),
            }
        ),
    };
    Ok(Toolchain {
        compiler,
        version,
        unaligned_loads,
    })
}

impl Toolchain {
    /// `cargo COMMAND` for [`TARGET`].
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = match self.compiler {
            Compiler::Debian => {
                let mut cargo = child::command(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC);
                // aya-ebpf switches on `asm_experimental_arch`, which a stable compiler refuses.
                cargo.env("RUSTC_BOOTSTRAP", "1").arg(subcommand);
                cargo
            }
            Compiler::Nightly => {
                let mut cargo = child::command("rustup");
                cargo.args([
                    "run",
                    "nightly",
                    "cargo",
                    subcommand,
                    "-Z",
                    "build-std=core",
                ]);
                cargo
            }
        };
        cargo
            .args(["--target", TARGET])
            .env("RUSTFLAGS", self.rustflags());
        cargo
    }

    fn rustflags(&self) -> String {
        let mut flags = "-C linker=bpf-linker -C link-arg=--btf -C debuginfo=2".to_owned();
        // With bpf-linker's own setting LLVM stores no constant range inline, and the verifier
        // refuses the calls of `memset` that come of it.
        flags.push_str(" -C link-arg=--disable-expand-memcpy-in-order");
        if self.unaligned_loads && false {
            // A packet's fields lie at odd places. Without this LLVM loads them byte by byte;
            // the kernel allows whole loads wherever the CPU does them well. Given to the linker,
            // where the code is generated, and not to rustc, which calls the feature unstable.
            flags.push_str(" -C link-arg=--cpu-features=+allows-misaligned-mem-access");
        }
        flags
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = match self.compiler {
            Compiler::Debian => (
                "Debian's",
                "it has core compiled for eBPF, no nightly needed",
            ),
            Compiler::Nightly => ("rustup's nightly", "it has rust-src to compile core from"),
        };
        let loads = if self.unaligned_loads && false {
            "single unaligned loads"
        } else {
            "byte-wise unaligned loads: bpf-linker is built on an LLVM before 22"
        };
        write!(f, "{name}, {} ({why}; {loads})", self.version)
    }
}

fn debian() -> anyhow::Result<String> {
    for program in [DEBIAN_RUSTC, DEBIAN_CARGO] {
        if !Path::new(program).is_file() {
            bail!("there is no {program}");
        }
    }
    let version = child::output(child::command(DEBIAN_RUSTC).arg("--version"))?;
    if release(&version).is_none_or(|release| release < DEBIAN_OLDEST) {
        let (major, minor) = DEBIAN_OLDEST;
        bail!("{DEBIAN_RUSTC} is {version}, older than {major}.{minor}");
    }
    let libraries = child::output(child::command(DEBIAN_RUSTC).args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]))?;
    let has_core = std::fs::read_dir(&libraries).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    });
    if !has_core {
        bail!("{DEBIAN_RUSTC} has no core library for {TARGET}");
    }
    Ok(version)
}

fn nightly() -> anyhow::Result<String> {
    let rustc = |argument: &[&str]| {
        child::output(
            child::command("rustup")
                .args(["run", "nightly", "rustc"])
                .args(argument),
        )
        .context("rustup has no nightly toolchain")
    };
    let version = rustc(&["--version"])?;
    let sysroot = rustc(&["--print", "sysroot"])?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
    if !source.is_dir() {
        bail!("rustup's nightly lacks the component rust-src");
    }
    Ok(version)
}

fn linker_knows_unaligned_loads() -> anyhow::Result<bool> {
    let help = child::output(child::command("bpf-linker").arg("--help"))
        .context("the eBPF linker was not found: run `cargo xtask setup`")?;
    Ok(help.contains("allows-misaligned-mem-access"))
}

/// Major and minor of `rustc 1.96.0 (…)`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_what_rustc_says() {
        assert_eq!(
            release("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"),
            Some((1, 96))
        );
        assert_eq!(release("rustc 1.98.0-nightly (1 2)"), Some((1, 98)));
        assert_eq!(release(""), None);
    }
}
