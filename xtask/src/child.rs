//! Other programs, run from here.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// A command whose environment is the one of the person who typed `cargo xtask`.
///
/// The cargo that runs xtask leaves its own variables behind (`CARGO`, `RUSTUP_TOOLCHAIN`,
/// `CARGO_PKG_*`, …): a cargo or rustc of another toolchain would obey them.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if left_behind_by_cargo(&name) {
            command.env_remove(name);
        }
    }
    if let Some(path) = search_path() {
        command.env("PATH", path);
    }
    command
}

/// Whom a command runs as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Privilege {
    /// Whoever runs xtask.
    User,
    /// Root: as it is, or through sudo.
    Root,
}

impl Privilege {
    /// A command that runs with this privilege.
    ///
    /// # Errors
    /// Root is needed, and this is neither root nor is there sudo.
    pub(crate) fn command(self, program: &str) -> anyhow::Result<Command> {
        if self == Self::User || is_root() {
            return Ok(command(program));
        }
        if find_program("sudo").is_none() {
            bail!("`{program}` must run as root: run this as root, or install sudo");
        }
        let mut sudo = command("sudo");
        sudo.arg(program);
        Ok(sudo)
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // The owner of a process's entry is its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Runs a command with its output shown; anything but success is an error.
///
/// # Errors
/// It could not be started, or failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// What a command wrote to its standard output, trimmed.
///
/// # Errors
/// It could not be started, or failed: with what it wrote to its standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}: {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where a program lies, looked for as [`command`] does, and in the system's own directories
/// that a user's `PATH` often lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()?)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// The search path of [`command`] with one directory before all others.
pub(crate) fn path_with_first(directory: &str) -> OsString {
    let mut path = OsString::from(directory);
    if let Some(rest) = search_path() {
        path.push(":");
        path.push(rest);
    }
    path
}

/// A command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn left_behind_by_cargo(name: &OsStr) -> bool {
    // These say where cargo keeps its things and how it reaches the network: the user's, not ours.
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_BUILD_JOBS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const SHED: [&str; 10] = [
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        "LD_LIBRARY_PATH",
        "CARGO",
    ];
    let name = name.to_string_lossy();
    SHED.contains(&&*name)
        || name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept))
}

/// `PATH`, and where `cargo install` puts programs: Debian's cargo leaves that to the user.
fn search_path() -> Option<OsString> {
    let path = env::var_os("PATH")?;
    let installed = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?
        .join("bin");
    env::join_paths(env::split_paths(&path).chain([installed])).ok()
}
