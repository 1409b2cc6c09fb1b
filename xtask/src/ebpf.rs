//! Builds the eBPF objects, and verifies their contents.

mod build;
mod elf;
mod expected;
mod report;
mod stack;
pub(crate) mod toolchain;

use self::toolchain::Toolchain;
use crate::{child, workspace::Workspace};

/// Builds every binary of `lb-ebpf`, and prints the contents of each object.
///
/// # Errors
/// No toolchain is found, the build fails, or an object is incomplete or exceeds its budget.
pub(crate) fn build_and_report(workspace: &Workspace) -> anyhow::Result<()> {
    let toolchain = Toolchain::find()?;
    println!("eBPF toolchain: {toolchain}");
    for object in build::objects(workspace, &toolchain)? {
        report::print(&object)?;
    }
    Ok(())
}

/// Runs clippy on `lb-ebpf` for the kernel's target, with warnings as errors.
///
/// # Errors
/// No toolchain is found, it has no clippy, or clippy has a finding.
pub(crate) fn clippy(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(
        Toolchain::find()?
            .cargo("clippy")
            .args(["--release", "--package", "lb-ebpf", "--target-dir"])
            .arg(workspace.target.join("ebpf-build"))
            .current_dir(&workspace.root)
            .args(["--", "-D", "warnings"]),
    )
}
