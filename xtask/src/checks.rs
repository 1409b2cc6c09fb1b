//! What can be said of the code without running it.

use std::process::Command;

use anyhow::Context as _;

use crate::{child, ebpf, setup, workspace::Workspace};

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

/// Every link of the documentation leads somewhere, private items included.
///
/// # Errors
/// rustdoc has a warning.
pub(crate) fn documentation(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(
        cargo(workspace)
            .arg("doc")
            .args(HOST_PACKAGES)
            .args(["--no-deps", "--lib", "--document-private-items"])
            // The documentation is read in the repository, where private items are there.
            .env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links",
            ),
    )
}

/// Words are spelt as in British English, but for those that `typos.toml` lists.
///
/// # Errors
/// One is not: with its place and how it is spelt.
pub(crate) fn spelling(workspace: &Workspace) -> anyhow::Result<()> {
    let typos = setup::typos().context("typos is not installed: run `cargo xtask setup`")?;
    child::run(Command::new(typos).current_dir(&workspace.root))
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
