//! The commands `cargo xtask build` and `cargo xtask demo`.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::Context as _;

use crate::{
    checks::{HOST_PACKAGES, cargo},
    child::{self, Privilege},
    ebpf, progress,
    setup::{self, Purpose},
    workspace::Workspace,
};

/// Builds the eBPF object and the agent with the release profile.
///
/// # Errors
/// A build failed.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    setup::ensure(Purpose::Build)?;
    ebpf::build_and_report(workspace)?;
    release(workspace, &["--package", "lb-userspace", "--bin", "lb"])?;
    println!("{}", workspace.release_binary("lb").display());
    Ok(())
}

/// Builds everything and executes `lb-lab demo`, which shows the agent at work in a network of
/// hosts that are network namespaces.
///
/// # Errors
/// The set-up or a build failed, or the demo could not be started.
pub(crate) fn demo(workspace: &Workspace, once: bool, monitoring: bool) -> anyhow::Result<()> {
    setup::ensure(Purpose::Demo)?;
    if monitoring {
        setup::ensure(Purpose::Monitoring)?;
    }
    ebpf::build_and_report(workspace)?;
    let binaries = ["--bin", "lb", "--bin", "lb-lab"];
    release(workspace, &[&HOST_PACKAGES[..], &binaries].concat())?;
    let mut binary = OsString::from("LB_BINARY=");
    binary.push(workspace.release_binary("lb"));
    // Variables are set through the command `env`, because sudo does not pass them on.
    let mut demo = Privilege::Root.command("env")?;
    demo.arg(binary)
        .arg(workspace.release_binary("lb-lab"))
        .arg("demo")
        .args(once.then_some("--once"))
        .args(monitoring.then_some("--monitoring"));
    let failure = demo.exec();
    Err(failure).with_context(|| format!("could not start `{}`", child::line(&demo)))
}

/// Builds this selection of packages with the release profile. Before the first such build, prints
/// how long it takes.
fn release(workspace: &Workspace, selection: &[&str]) -> anyhow::Result<()> {
    if !workspace.target.join("release").exists() {
        println!(
            "building for release: the first time takes about ten minutes on two cores, half of them for \
             aws-sdk-ec2 (the EC2 API's SDK); later builds take about two"
        );
    }
    progress::build(
        cargo(workspace)
            .args(["build", "--release"])
            .args(selection),
    )
}
