//! Finds the compiler and the linker for eBPF.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::child;

/// The compiler's target for eBPF programs: eBPF, little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Version of the linker bpf-linker that this repository is built and tested with.
pub(crate) const BPF_LINKER: &str = "0.13.0";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// First version of Debian's compiler that has the library `core` for eBPF.
const DEBIAN_OLDEST: (u32, u32) = (1, 96);

/// A cargo and a rustc that can build for [`TARGET`], and the linker that they use.
pub(crate) struct Toolchain {
    compiler: Compiler,
    /// Version of the installed bpf-linker.
    linker: String,
}

/// One of the two compilers that can build eBPF programs, with its version.
pub(crate) enum Compiler {
    /// Debian's stable compiler, with `core` already compiled for eBPF.
    Debian(String),
    /// rustup's nightly, which compiles `core` from its source.
    Nightly(String),
}

impl Toolchain {
    /// Finds a toolchain for eBPF on this machine.
    ///
    /// # Errors
    /// No compiler or no linker was found.
    pub(crate) fn find() -> anyhow::Result<Self> {
        Ok(Self {
            compiler: Compiler::find()?,
            linker: linker()?,
        })
    }

    /// Returns the command `cargo SUBCOMMAND`, set up to build for [`TARGET`].
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = match self.compiler {
            Compiler::Debian(_) => {
                let mut cargo = child::command(DEBIAN_CARGO);
                cargo.env("RUSTC", DEBIAN_RUSTC);
                // `cargo clippy` starts the first clippy-driver in the path, which must belong to
                // this compiler.
                cargo.env("PATH", child::path_with_first("/usr/bin"));
                // aya-ebpf enables `asm_experimental_arch`, which a stable compiler rejects unless
                // RUSTC_BOOTSTRAP is set.
                cargo.env("RUSTC_BOOTSTRAP", "1").arg(subcommand);
                cargo
            }
            Compiler::Nightly(_) => {
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
        cargo.args(["--target", TARGET]).env("RUSTFLAGS", RUSTFLAGS);
        cargo
    }
}

/// Flags for rustc and, after `link-arg=`, for bpf-linker.
///
/// With bpf-linker's default of `bpf-expand-memcpy-in-order`, LLVM does not inline stores of
/// constant ranges, and the verifier rejects the resulting calls of `memset`.
///
/// LLVM 22's feature `allows-misaligned-mem-access` is not enabled. It would load misaligned fields
/// of a packet as a whole, where LLVM now loads bytes; but it also affects the stack, and the
/// verifier rejects misaligned access there.
const RUSTFLAGS: &str = "-C linker=bpf-linker -C link-arg=--btf -C debuginfo=2 \
    -C link-arg=--disable-expand-memcpy-in-order";

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = match self.compiler {
            Compiler::Debian(_) => (
                "Debian's",
                "it has core compiled for eBPF, no nightly needed",
            ),
            Compiler::Nightly(_) => ("rustup's nightly", "it has rust-src to compile core from"),
        };
        let compiler = self.compiler.short();
        write!(f, "{name} {compiler} ({why}), {}", self.linker)
    }
}

impl Compiler {
    /// Finds a compiler for eBPF; prefers Debian's, which needs no nightly toolchain.
    ///
    /// # Errors
    /// Neither Debian's compiler nor rustup's nightly is available.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let debian = match debian() {
            Ok(version) => return Ok(Self::Debian(version)),
            Err(why_not) => why_not,
        };
        let nightly = match nightly() {
            Ok(version) => return Ok(Self::Nightly(version)),
            Err(why_not) => why_not,
        };
        bail!(
            "no compiler for {TARGET} was found: {debian:#}; {nightly:#}: run `cargo xtask setup`"
        )
    }

    /// Returns a short name of the compiler with its version, such as `rustc 1.96.0`.
    pub(crate) fn short(&self) -> String {
        let (Self::Debian(version) | Self::Nightly(version)) = self;
        let words: Vec<_> = version.split_whitespace().take(2).collect();
        words.join(" ")
    }

    /// Returns the version of the clippy that belongs to this compiler; `None` if it is not
    /// installed.
    pub(crate) fn clippy(&self) -> Option<String> {
        let mut clippy = match self {
            Self::Debian(_) => child::command("/usr/bin/clippy-driver"),
            Self::Nightly(_) => {
                let mut clippy = child::command("rustup");
                clippy.args(["run", "nightly", "clippy-driver"]);
                clippy
            }
        };
        child::output(clippy.arg("--version")).ok()
    }
}

/// Returns whether this version (major, minor) of Debian's compiler has a `core` for eBPF.
pub(crate) fn is_new_enough(version: (u32, u32)) -> bool {
    version >= DEBIAN_OLDEST
}

fn debian() -> anyhow::Result<String> {
    for program in [DEBIAN_RUSTC, DEBIAN_CARGO] {
        if !Path::new(program).is_file() {
            bail!("there is no {program}");
        }
    }
    let version = child::output(child::command(DEBIAN_RUSTC).arg("--version"))?;
    if !release(&version).is_some_and(is_new_enough) {
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

fn linker() -> anyhow::Result<String> {
    child::output(child::command("bpf-linker").arg("--version"))
        .context("the eBPF linker was not found: run `cargo xtask setup`")
}

/// Parses the major and minor number of a compiler's version, such as `rustc 1.96.0 (…)`.
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
