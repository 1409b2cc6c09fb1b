//! Runs other programs.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Returns a command with the environment of the user who typed `cargo xtask`.
///
/// The cargo that runs xtask sets variables (`CARGO`, `RUSTUP_TOOLCHAIN`, `CARGO_PKG_*`, …) that
/// would affect a cargo or rustc of another toolchain, so they are removed.
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

/// The user that a command runs as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Privilege {
    /// The command runs as the user who runs xtask.
    User,
    /// The command runs as root: directly if xtask does, otherwise through sudo.
    Root,
}

impl Privilege {
    /// Returns a command that runs as this user.
    ///
    /// # Errors
    /// Root is required, and sudo is not available.
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

/// Returns whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // The owner of the directory `/proc/self` is the effective user of this process.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Runs a command, whose output is shown.
///
/// # Errors
/// The command could not be started, or failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output, without white space at the ends.
///
/// # Errors
/// The command could not be started, or failed; the error contains its standard error.
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

/// Finds a program in the search path of [`command`], and in system directories that a user's
/// `PATH` often lacks; `None` if it is in none of them.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()?)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Returns the search path of [`command`] with the directory `directory` added at the front.
pub(crate) fn path_with_first(directory: &str) -> OsString {
    let mut path = OsString::from(directory);
    if let Some(rest) = search_path() {
        path.push(":");
        path.push(rest);
    }
    path
}

/// Formats a command as it would be typed in a shell.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn left_behind_by_cargo(name: &OsStr) -> bool {
    // These variables of cargo, most of them given by a prefix, are not removed from the
    // environment: they are the user's settings, such as those of directories and network.
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

/// Returns `PATH` with the directory added in which `cargo install` puts programs, which Debian's
/// cargo does not add.
fn search_path() -> Option<OsString> {
    let path = env::var_os("PATH")?;
    let installed = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?
        .join("bin");
    env::join_paths(env::split_paths(&path).chain([installed])).ok()
}
