//! Network, mounts and processes of its own for a measurement: nothing outside is touched, and
//! all of it ends with the first process, however that ends.

use std::{env, ffi::OsString};

use anyhow::Context as _;

use crate::child::{self, Privilege};

/// The address that proxies listen on.
pub(crate) const ADDRESS: &str = "192.0.2.1";

/// The interface that has it.
pub(crate) const INTERFACE: &str = "lb0";

/// Interfaces without an address, for agents that are measured beside the first: each attaches its
/// program to an interface of its own.
pub(crate) const OTHER_INTERFACES: [&str; 2] = ["lb1", "lb2"];

/// Runs this very command again within new namespaces, with one more argument.
///
/// # Errors
/// No root, no namespaces, or the command's own failure.
pub(crate) fn enter(argument: &str) -> anyhow::Result<()> {
    let xtask = env::current_exe().context("this program does not know where it lies")?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    child::run(
        Privilege::Root
            .command("unshare")?
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
            .arg("--mount-proc")
            .arg(xtask)
            .args(arguments)
            .arg(argument),
    )
}

/// Raises loopback and pairs of virtual interfaces, and mounts what belongs to the namespaces.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn furnish() -> anyhow::Result<()> {
    for interface in OTHER_INTERFACES.into_iter().chain([INTERFACE]) {
        let peer = format!("{interface}-peer");
        run(&[
            "ip", "link", "add", interface, "type", "veth", "peer", "name", &peer,
        ])?;
        run(&["ip", "link", "set", interface, "up"])?;
        run(&["ip", "link", "set", &peer, "up"])?;
    }
    let address = format!("{ADDRESS}/24");
    let steps: [&[&str]; 4] = [
        &["ip", "link", "set", "lo", "up"],
        &["ip", "address", "add", &address, "dev", INTERFACE],
        // sysfs shows the interfaces of the namespace it was mounted in.
        &["mount", "-t", "sysfs", "sysfs", "/sys"],
        // Pins of the measured agent vanish with this mount.
        &["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"],
    ];
    steps.into_iter().try_for_each(run)
}

fn run(step: &[&str]) -> anyhow::Result<()> {
    let program = child::find_program(step[0]).unwrap_or_else(|| step[0].into());
    child::run(child::command(program).args(&step[1..]))
}
