//! Running the agent like its systemd unit: not as root, with only the unit's capabilities.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Agent, CONFIG_FILE, binary, path_of};
use crate::Host;

/// The systemd unit that operators install.
const UNIT: &str = include_str!("../../../deploy/lb.service");

/// User ID of the agent in the tests, whose hosts have no user `lb`.
const USER: &str = "65534";

/// Path on a host of a copy of the binary that [`USER`] can execute.
const PROGRAM: &str = "/run/lb/lb";

impl Agent {
    /// Starts an agent as the systemd unit does, without root and with only the unit's
    /// capabilities, with the configuration file and TLS certificate that are already on the host.
    /// Waits as [`Agent::start`] does.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_as_unit(host: &Host) -> Result<Self> {
        install(host)?;
        // This prepares the directories with the permissions that the unit gives them before it
        // starts the agent.
        host.script(&format!(
            "chmod o+x /sys/fs/bpf\n\
             mkdir -p /sys/fs/bpf/lb\n\
             chown -R {USER}:{USER} /sys/fs/bpf/lb /run/lb",
        ))?;
        Self::start_by(host, as_user(host)?)
    }

    /// Replaces the binary by a new file of the same name, as a package manager does, and runs `lb
    /// upgrade`. Returns what that command printed.
    ///
    /// # Errors
    /// When the new process does not take over.
    pub fn upgrade(&self) -> Result<String> {
        install(&self.host)?;
        self.operate(&["upgrade"])
    }
}

fn install(host: &Host) -> Result<()> {
    let lb = binary()?;
    host.script(&format!(
        "mkdir -p /run/lb\ninstall -m 0755 {} {PROGRAM}.new\nmv {PROGRAM}.new {PROGRAM}",
        path_of(&lb)?
    ))
    .map(drop)
}

fn as_user(host: &Host) -> Result<Command> {
    let mut command = host.command("setpriv");
    command
        .args(capability_options(UNIT)?)
        .args(["--reuid", USER, "--regid", USER])
        .args(["--clear-groups", "--no-new-privs", "--"])
        .args([PROGRAM, "run", "--config", CONFIG_FILE]);
    Ok(command)
}

/// The options of `setpriv` that leave a process only the capabilities of a unit.
///
/// # Errors
/// The unit bounds no capabilities.
pub(crate) fn capability_options(unit: &str) -> Result<[String; 3]> {
    let capabilities = capabilities(unit).context("the unit bounds no capabilities")?;
    let options = ["inh-caps", "ambient-caps", "bounding-set"];
    Ok(options.map(|option| format!("--{option}={capabilities}")))
}

/// The unit's capabilities as `setpriv` takes them: `-all,+bpf,+net_admin,…`.
fn capabilities(unit: &str) -> Option<String> {
    let mut lines = unit.lines();
    let names = lines.find_map(|line| line.strip_prefix("CapabilityBoundingSet="))?;
    let names = names.split_whitespace().filter_map(|name| {
        let name = name.strip_prefix("CAP_")?;
        Some(format!(",+{}", name.to_ascii_lowercase()))
    });
    Some(format!("-all{}", names.collect::<String>()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_capabilities_are_those_of_the_unit() {
        let expected = "-all,+bpf,+net_admin,+net_raw,+net_bind_service,+perfmon";
        assert_eq!(super::capabilities(super::UNIT).as_deref(), Some(expected));
    }
}
