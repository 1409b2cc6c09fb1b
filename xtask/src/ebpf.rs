//! The eBPF objects: built, and read back to see that what the agent needs is in them.

mod build;
mod elf;
mod expected;
mod report;
pub(crate) mod toolchain;

use crate::workspace::Workspace;

/// Builds every binary of `lb-ebpf` and prints what is in each.
///
/// # Errors
/// No toolchain, a failed build, or an object that lacks something or is over its budget.
pub(crate) fn build_and_report(workspace: &Workspace) -> anyhow::Result<()> {
    let toolchain = toolchain::find()?;
    println!("eBPF toolchain: {toolchain}");
    for object in build::objects(workspace, &toolchain)? {
        report::print(&object)?;
    }
    Ok(())
}
