//! What can be said of the code without running it.

use std::process::Command;

use crate::{child, ebpf, workspace::Workspace};

/// The lock file says what the manifests say.
///
/// # Errors
/// A manifest was changed, and the lock file not.
pub(crate) fn lock_file(workspace: &Workspace) -> anyhow::Result<()> {
    child::output(cargo(workspace).args(["metadata", "--locked", "--format-version=1"]))?;
    Ok(())
}

/// Every package is formatted.
///
/// # Errors
/// One is not: with the difference.
pub(crate) fn format(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).args(["fmt", "--all", "--check"]))
}

/// Clippy has nothing to say of any target of the packages that are built for the host.
///
/// # Errors
/// It has.
pub(crate) fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).arg("clippy").args(HOST_PACKAGES).args([
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Clippy has nothing to say of `lb-ebpf`, compiled for the kernel.
///
/// # Errors
/// It has.
pub(crate) fn clippy_ebpf(workspace: &Workspace) -> anyhow::Result<()> {
    ebpf::clippy(workspace)
}

/// Licences, sources and duplicates are as `deny.toml` allows.
///
/// # Errors
/// They are not.
pub(crate) fn dependencies(workspace: &Workspace) -> anyhow::Result<()> {
    let deny = ["deny", "check", "--hide-inclusion-graph"];
    child::run(
        cargo(workspace)
            .args(deny)
            .args(["licenses", "bans", "sources"]),
    )
}

/// No dependency has a known weakness; the advisory list is fetched again.
///
/// # Errors
/// One has, or the list could not be fetched.
pub(crate) fn advisories(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).args(["deny", "check", "advisories"]))
}

/// Selects all packages but the kernel's. Every command names the same ones: cargo unifies the
/// features of what is selected together, and would otherwise recompile dependencies.
pub(crate) const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "lb-ebpf"];

/// The host's cargo, in the repository.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = child::command("cargo");
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target);
    cargo
}
