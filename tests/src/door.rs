//! Entering a host of a lab that another process started.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use lab::host::HOLDER;

/// Executes a command on a host of the test network (lab) that was started last.
///
/// # Errors
/// When no lab is running, or the host cannot be entered.
pub(crate) fn run(host: &str, command: &[String]) -> Result<()> {
    let pid = newest(host)?.with_context(|| {
        format!("no lab stands that has a host {host}: raise one with `lb-lab up` or `lb-lab demo`")
    })?;
    let error = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-a", "--"])
        .args(command)
        .exec();
    Err(error).context("could not start nsenter")
}

/// Finds process 1 of the host of this name that was started last, and returns its process ID;
/// `None` if there is no such host. A host has no name that is visible outside of it, but the
/// command line of its holder process contains the name.
fn newest(host: &str) -> Result<Option<u32>> {
    let wanted = [b"sh\0-c\0".as_slice(), &holder_of(host)];
    let pids = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(wanted[0]) && line.ends_with(wanted[1]))
        });
    // The holder of a host is older than the other processes on the host, so the first match in
    // each lab is process 1 of the host. Process IDs grow until they wrap around, which takes
    // millions of processes.
    Ok(pids.filter(|pid| is_first(*pid)).max())
}

fn holder_of(host: &str) -> Vec<u8> {
    format!("\0{HOLDER}\0{host}\0").into_bytes()
}

/// Whether a process is process 1 of its PID namespace.
fn is_first(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))
            .and_then(|pids| pids.split_whitespace().last())
            == Some("1")
    })
}
