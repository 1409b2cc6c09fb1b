//! Installs Debian's packages.

use std::{path::Path, process};

use super::need::COMPILER_PACKAGES;
use crate::{
    child::{self, Privilege},
    ebpf::toolchain,
};

/// Path of the script that Debian's packages run before they start services, and that can forbid
/// it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Packages and their services, which must not start at boot: only the packages' programs are
/// needed.
const SERVICES: [(&str, &str); 6] = [
    ("nginx", "nginx.service"),
    ("haproxy", "haproxy.service"),
    ("keepalived", "keepalived.service"),
    ("nsd", "nsd.service"),
    ("prometheus", "prometheus.service"),
    (
        "prometheus-node-exporter",
        "prometheus-node-exporter.service",
    ),
];

/// Returns whether this distribution has apt.
pub(crate) fn is_here() -> bool {
    child::find_program("apt-get").is_some()
}

/// Fetches apt's lists of packages, which a fresh machine lacks.
///
/// # Errors
/// There is neither root nor sudo, or apt failed.
pub(crate) fn refresh() -> anyhow::Result<()> {
    println!("setup: apt-get update");
    child::run(Privilege::Root.command("apt-get")?.args(["update", "-qq"]))
}

/// Returns whether the lists of packages contain a compiler for eBPF that is new enough.
pub(crate) fn offers_ebpf_compiler() -> bool {
    is_here()
        && COMPILER_PACKAGES.iter().all(|package| {
            child::output(child::command("apt-cache").args(["policy", package]))
                .is_ok_and(|policy| candidate(&policy).is_some_and(toolchain::is_new_enough))
        })
}

/// Parses the major and minor number of the version that apt would install, from the output of
/// `apt-cache policy`.
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Returns whether a package of the distribution is installed and configured.
pub(crate) fn is_installed(package: &str) -> bool {
    child::output(child::command("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Installs packages of the distribution, whose services start neither now nor at boot.
///
/// # Errors
/// There is neither root nor sudo, or apt failed.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    let root = Privilege::Root;
    let held = hold_services()?;
    let installed = child::run(
        root.command("env")?
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install"])
            .args(["-q", "-y", "--no-install-recommends"])
            .args(packages),
    );
    if held {
        child::run(root.command("rm")?.args(["-f", POLICY]))?;
    }
    installed?;
    disable_services(packages)
}

/// Prevents services from starting while packages are installed. Returns whether it wrote the
/// script [`POLICY`].
///
/// The script applies only while this process lives: if xtask is killed, the file has no effect.
fn hold_services() -> anyhow::Result<bool> {
    if Path::new(POLICY).exists() {
        return Ok(false);
    }
    let xtask = process::id();
    let policy = format!(
        "#!/bin/sh\\n# From `cargo xtask setup` of lb, while it installs: start no service.\\n\
         [ ! -d /proc/{xtask} ] || exit 101\\n"
    );
    let write = format!("printf '{policy}' > {POLICY} && chmod 755 {POLICY}");
    child::run(Privilege::Root.command("sh")?.args(["-c", &write]))?;
    Ok(true)
}

fn disable_services(installed: &[&str]) -> anyhow::Result<()> {
    let services: Vec<_> = SERVICES
        .iter()
        .filter(|(package, _)| installed.contains(package))
        .map(|(_, service)| *service)
        .collect();
    if services.is_empty() || !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    println!(
        "{} will not start at boot; `systemctl enable` enables them",
        services.join(", ")
    );
    child::run(
        Privilege::Root
            .command("systemctl")?
            .args(["disable", "--quiet"])
            .args(services),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_what_apt_says() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(candidate(policy), Some((1, 96)));
        assert_eq!(candidate("rustc-web:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }
}
