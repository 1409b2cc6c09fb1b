//! Static checks of the code, which `cargo xtask lint` and `test` run.

use std::process::Command;

use anyhow::Context as _;

use crate::{child, ebpf, setup, workspace::Workspace};

/// Checks that the lock file matches the manifests.
///
/// # Errors
/// The lock file is out of date.
pub(crate) fn lock_file(workspace: &Workspace) -> anyhow::Result<()> {
    child::output(cargo(workspace).args(["metadata", "--locked", "--format-version=1"]))?;
    Ok(())
}

/// Checks that the code of every package is formatted.
///
/// # Errors
/// A package is not formatted; the difference is printed.
pub(crate) fn format(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).args(["fmt", "--all", "--check"]))
}

/// Runs clippy on all targets of the packages that are built for the host.
///
/// # Errors
/// Clippy has findings.
pub(crate) fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).arg("clippy").args(HOST_PACKAGES).args([
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Runs clippy on `lb-ebpf`, compiled for the kernel.
///
/// # Errors
/// Clippy has findings.
pub(crate) fn clippy_ebpf(workspace: &Workspace) -> anyhow::Result<()> {
    ebpf::clippy(workspace)
}

/// Builds the documentation, private items included, and checks that its links are valid.
///
/// # Errors
/// rustdoc has a warning.
pub(crate) fn documentation(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(
        cargo(workspace)
            .arg("doc")
            .args(HOST_PACKAGES)
            .args(["--no-deps", "--lib", "--document-private-items"])
            // rustdoc must accept links to private items, because the documentation is built with
            // these items.
            .env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links",
            ),
    )
}

/// Checks that words are spelt as in British English, except for those that `typos.toml` lists.
///
/// # Errors
/// A word is misspelt; its place and the right spelling are printed.
pub(crate) fn spelling(workspace: &Workspace) -> anyhow::Result<()> {
    let typos = setup::typos().context("typos is not installed: run `cargo xtask setup`")?;
    child::run(Command::new(typos).current_dir(&workspace.root))
}

/// Checks the template for CloudFormation.
///
/// # Errors
/// cfn-lint has findings; they are printed.
pub(crate) fn cloud_formation(workspace: &Workspace) -> anyhow::Result<()> {
    let lint = setup::cfn_lint().context("cfn-lint is not installed: run `cargo xtask setup`")?;
    child::run(
        Command::new(lint)
            .current_dir(&workspace.root)
            .arg("deploy/aws/pair.yaml"),
    )
}

/// Checks licences, sources and duplicates of dependencies against `deny.toml`.
///
/// # Errors
/// A dependency violates a rule.
pub(crate) fn dependencies(workspace: &Workspace) -> anyhow::Result<()> {
    let deny = ["deny", "check", "--hide-inclusion-graph"];
    child::run(
        cargo(workspace)
            .args(deny)
            .args(["licenses", "bans", "sources"]),
    )
}

/// Checks the dependencies for known vulnerabilities, by the current list of advisories.
///
/// # Errors
/// A dependency has an advisory, or the list cannot be fetched.
pub(crate) fn advisories(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo(workspace).args(["deny", "check", "advisories"]))
}

/// Arguments that select all packages except `lb-ebpf`. Every command selects the same packages,
/// because cargo unifies the features of those that are selected, and would otherwise recompile
/// dependencies.
pub(crate) const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "lb-ebpf"];

/// Returns a command of the cargo that builds for the host, with the repository's root as working
/// directory.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = child::command("cargo");
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target);
    cargo
}
