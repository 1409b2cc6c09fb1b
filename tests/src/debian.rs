//! A clean Debian system on a host of the lab, in which packages are installed and their unit is
//! started.
//!
//! `cargo xtask setup` makes the system once, by debootstrap. Here it is the lower layer of an
//! overlay: what is changed is in the host's memory and ends with the host. There is no init system
//! in it, as in a container: [`Debian::start_unit`] does what systemd would.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Host, Process, agent::capability_options};

/// Path on the host at which the Debian system is mounted.
const ROOT: &str = "/run/debian";

/// Path in the Debian system of the agent's systemd unit, as the package installs it.
const UNIT: &str = "/usr/lib/systemd/system/lb.service";

/// Folders whose content changes with every installation of any package.
const BOOKKEEPING: [&str; 5] = [
    "/var/lib/dpkg/",
    "/var/log/",
    "/var/cache/",
    "/etc/.pwd.lock",
    "/var/lib/systemd/",
];

/// A Debian system on a host. The system ends with the host.
#[derive(Debug)]
pub struct Debian {
    host: Host,
}

impl Debian {
    /// Mounts the Debian system on a host.
    ///
    /// # Errors
    /// `cargo xtask setup` has not made it, or the kernel has no overlay file system.
    pub fn raise(host: &Host) -> Result<Self> {
        let lower = lower()?;
        host.script(&format!(
            "mkdir -p {ROOT} {ROOT}.upper {ROOT}.work\n\
             mount -t overlay overlay -o lowerdir={},upperdir={ROOT}.upper,workdir={ROOT}.work {ROOT}\n\
             mount -t proc proc {ROOT}/proc\n\
             mount --rbind /sys {ROOT}/sys\n\
             mount --rbind /dev {ROOT}/dev\n\
             mount -t tmpfs -o mode=755 tmpfs {ROOT}/run",
            lower.display()
        ))?;
        Ok(Self { host: host.clone() })
    }

    /// Returns a command that will run in the Debian system as root, with the environment of a root
    /// shell.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.host.command("env");
        command
            .args(["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"])
            .arg("DEBIAN_FRONTEND=noninteractive")
            .args(["chroot", ROOT])
            .arg(program);
        command
    }

    /// Runs a shell script in the Debian system, and returns its status and output.
    ///
    /// # Errors
    /// The script cannot be started.
    pub fn attempt(&self, script: &str) -> Result<Output> {
        Ok(self.command("sh").args(["-ec", script]).output()?)
    }

    /// Runs a shell script in the Debian system, and returns what it printed, standard error
    /// included.
    ///
    /// # Errors
    /// The script failed; the error contains its output.
    pub fn script(&self, script: &str) -> Result<String> {
        let output = self.attempt(script)?;
        let said = said(&output);
        ensure!(output.status.success(), "`{script}` failed: {said}");
        Ok(said)
    }

    /// Returns the path by which a file of the Debian system can be reached from outside of it.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.host.path(&format!("{ROOT}{inside}"))
    }

    /// Writes a file of the Debian system, with these permissions.
    ///
    /// # Errors
    /// Its folder is missing.
    pub fn write(&self, inside: &str, content: &str, mode: u32) -> Result<()> {
        let path = self.path(inside);
        fs::write(&path, content).with_context(|| format!("could not write {inside}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Copies a package into the Debian system and installs it by dpkg, which keeps configuration
    /// files that are there already and does not ask. Returns what dpkg and the package's scripts
    /// said.
    ///
    /// # Errors
    /// The installation failed.
    pub fn install(&self, package: &Path) -> Result<String> {
        fs::copy(package, self.path("/run/package.deb"))?;
        self.script("dpkg --force-confold --install /run/package.deb </dev/null")
    }

    /// Returns the paths of all files of the Debian system, but for those of dpkg's own
    /// bookkeeping.
    ///
    /// # Errors
    /// The files cannot be listed.
    pub fn files(&self) -> Result<BTreeSet<String>> {
        let listed = self.script("find / -xdev")?;
        let ours = |path: &&str| !BOOKKEEPING.iter().any(|other| path.starts_with(other));
        Ok(listed.lines().filter(ours).map(str::to_owned).collect())
    }

    /// Starts the installed unit as systemd would: its preparations as root, its folders, then its
    /// command line as its user, with its umask, and with its capabilities only.
    ///
    /// # Errors
    /// The unit has something that is not supported here, or a preparation failed.
    pub fn start_unit(&self) -> Result<Process> {
        let unit = fs::read_to_string(self.path(UNIT)).context("the unit is not installed")?;
        let user = one(&unit, "User")?;
        let mut script = String::new();
        for preparation in values(&unit, "ExecStartPre") {
            let Some(as_root) = preparation.strip_prefix('+') else {
                bail!("{preparation} is to run as {user}");
            };
            script += &format!("{as_root}\n");
        }
        for (key, above) in [
            ("RuntimeDirectory", "/run"),
            ("LogsDirectory", "/var/log"),
            ("StateDirectory", "/var/lib"),
        ] {
            let mode_key = format!("{key}Mode");
            let (name, mode) = (one(&unit, key)?, one(&unit, &mode_key)?);
            script += &format!("install -d -o {user} -g {user} -m {mode} {above}/{name}\n");
        }
        self.script(&script)?;
        let mut command = self.command("setpriv");
        command
            .args(capability_options(&unit)?)
            .args(["--reuid", user, "--regid", one(&unit, "Group")?])
            .args(["--init-groups", "--no-new-privs", "--", "sh", "-c"])
            .arg(format!(
                "umask {}; exec {}",
                one(&unit, "UMask")?,
                one(&unit, "ExecStart")?
            ));
        Process::start(&self.host, "lb", command)
    }
}

/// Returns what a command printed, standard error included.
#[must_use]
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn values<'a>(unit: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines()
        .filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

fn one<'a>(unit: &'a str, key: &'a str) -> Result<&'a str> {
    let mut found = values(unit, key);
    let value = found
        .next()
        .with_context(|| format!("the unit has no {key}"))?;
    ensure!(found.next().is_none(), "the unit has {key} twice");
    Ok(value)
}

/// Returns the folder of the Debian system that `cargo xtask setup` made in cargo's target
/// directory, or the folder that `LB_DEBIAN_ROOT` names.
fn lower() -> Result<PathBuf> {
    let root = match env::var_os("LB_DEBIAN_ROOT") {
        Some(named) => PathBuf::from(named),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debian-root"),
    };
    root.canonicalize().with_context(|| {
        format!(
            "there is no Debian system in {}: make it with `cargo xtask setup`",
            root.display()
        )
    })
}
