//! A benchmark of the sustained rate of short connections, and of the CPU time per connection.

mod figures;
mod report;

use std::process::Stdio;

use anyhow::{Context as _, bail};

use super::{ConnectionsArguments, machine::Machine, write_json};
use crate::{
    checks::{HOST_PACKAGES, cargo},
    child::{self, Privilege},
    ebpf,
    setup::{self, Purpose},
    workspace::Workspace,
};
use figures::{Figures, Measured};

/// The setups that are measured, by their names in `lb-lab connections`, in the order of the
/// printed table.
pub(super) const SETUPS: [&str; 4] = ["lb", "dnat", "nftables", "haproxy"];

/// The loads on each setup, by their names in `lb-lab connections`, in the order of the printed
/// table.
pub(super) const LOADS: [&str; 4] = ["wrk", "client-closes", "many-clients", "many-clients-close"];

/// Builds the agent and `lb-lab`, which simulates a network of hosts with network namespaces, and
/// runs each load on each setup there.
///
/// # Errors
/// The set-up or a build failed, or the measurement of a setup is not valid.
pub(crate) fn run(workspace: &Workspace, arguments: &ConnectionsArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Bench)?;
    ebpf::build_and_report(workspace)?;
    child::run(
        cargo(workspace)
            .args(["build", "--release"])
            .args(HOST_PACKAGES)
            .args(["--bin", "lb", "--bin", "lb-lab"]),
    )?;
    let mut lab = Privilege::Root.command("env")?;
    let lb = workspace.release_binary("lb");
    lab.arg(format!("LB_BINARY={}", lb.display()))
        .arg(workspace.release_binary("lb-lab"))
        .args(["connections", "--seconds", &arguments.seconds.to_string()])
        .args(arguments.setups.iter().flat_map(|setup| ["--setup", setup]))
        .args(arguments.loads.iter().flat_map(|load| ["--load", load]))
        // `lb-lab` reports its progress on standard error.
        .stderr(Stdio::inherit());
    let printed = child::output(&mut lab).context("lb-lab ended without figures")?;
    let measured: Measured = serde_json::from_str(&printed)
        .with_context(|| format!("lb-lab printed something other than its figures: {printed}"))?;
    let figures = Figures {
        machine: Machine::this(),
        seconds: arguments.seconds,
        measured,
    };
    report::print(&figures);
    if let Some(path) = &arguments.json {
        write_json(path, &figures)?;
    }
    let broken: Vec<_> = (figures.measured.broken.iter())
        .map(|broken| {
            format!(
                "setup {} under load {}: {}",
                broken.setup, broken.load, broken.why
            )
        })
        .collect();
    if !broken.is_empty() {
        bail!("not measured: {}", broken.join("; "));
    }
    Ok(())
}
