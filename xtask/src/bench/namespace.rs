//! Separate network, mount and process namespaces for a measurement: nothing outside of them is
//! changed, and everything in them ends with their first process, however that ends.

use std::{env, ffi::OsString};

use anyhow::Context as _;

use crate::child::{self, Privilege};

/// The IP address that the measured proxies listen on.
pub(crate) const ADDRESS: &str = "192.0.2.1";

/// Name of the interface that has the address [`ADDRESS`].
pub(crate) const INTERFACE: &str = "lb0";

/// Names of interfaces without an address, for additional agents: each agent attaches its program
/// to a separate interface.
pub(crate) const OTHER_INTERFACES: [&str; 2] = ["lb1", "lb2"];

/// Runs this command again in new namespaces, with `argument` added to its arguments.
///
/// # Errors
/// Root or namespaces are not available, or the command failed.
pub(crate) fn enter(argument: &str) -> anyhow::Result<()> {
    let xtask = env::current_exe().context("cannot determine the path of this program")?;
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

/// Sets up loopback and the veth pairs in the new namespaces, and mounts file systems of type sysfs
/// and BPF for them.
///
/// # Errors
/// The kernel refuses an operation.
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
        // sysfs shows the interfaces of the namespace in which it was mounted.
        &["mount", "-t", "sysfs", "sysfs", "/sys"],
        // The agent under test pins its BPF objects here; the pins disappear with this mount.
        &["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"],
    ];
    steps.into_iter().try_for_each(run)
}

fn run(step: &[&str]) -> anyhow::Result<()> {
    let program = child::find_program(step[0]).unwrap_or_else(|| step[0].into());
    child::run(child::command(program).args(&step[1..]))
}
