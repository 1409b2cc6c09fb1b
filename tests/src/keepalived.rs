//! The real keepalived on a host of the end-to-end tests, for interoperability tests and for
//! comparison. A host is a set of namespaces of its own.

use std::{fmt::Write as _, fs, net::IpAddr, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{Host, Process, wait};

/// Path of keepalived's configuration on the host.
const CONFIG_FILE: &str = "/run/keepalived/keepalived.conf";

/// Name of the `vrrp_instance`, as it appears in keepalived's log.
const INSTANCE: &str = "VI_1";

/// Time-out for keepalived to start.
const STARTING: Duration = Duration::from_secs(10);

/// Time-out for keepalived to send a goodbye (an advert with priority 0), remove its virtual
/// addresses and exit.
const ENDING: Duration = Duration::from_secs(10);

/// Configuration of keepalived: one VRRP instance on one interface.
#[derive(Clone, Debug)]
pub struct KeepalivedSettings {
    /// Name of the interface from which adverts are sent and which gets the virtual addresses.
    pub interface: String,
    /// State in which keepalived starts: `MASTER` or `BACKUP`.
    pub state: Role,
    /// Virtual router ID.
    pub virtual_router_id: u8,
    /// Priority of the host, 1 to 254.
    pub priority: u8,
    /// Version of VRRP, 2 or 3.
    pub version: u8,
    /// Time from one advert to the next: whole seconds in version 2, whole centiseconds in version
    /// 3.
    pub advert_interval: Duration,
    /// Source address of keepalived's adverts.
    pub source: IpAddr,
    /// The peer's address for unicast adverts; `None` for multicast.
    pub peer: Option<IpAddr>,
    /// Virtual addresses, each as `ADDRESS/PREFIX`. In VRRP version 3, keepalived refuses to start
    /// without one.
    pub virtual_addresses: Vec<String>,
    /// Whether keepalived preempts a master with a lower priority.
    pub preempt: bool,
    /// Time for which keepalived waits before it preempts; zero for no delay.
    pub preempt_delay: Duration,
    /// Password of VRRP version 2; `None` for no authentication by password.
    pub auth_pass: Option<String>,
    /// The key of keepalived's option `auth_hmac`, in the form of its option `key 1`. It needs
    /// keepalived 2.4 or later; `None` for no HMAC.
    pub hmac_key: Option<String>,
    /// A script whose exit status reports the host's health; `None` for no script.
    pub track_script: Option<TrackedScript>,
    /// Command of keepalived's option `notify_master`; `None` for no command.
    pub notify_master: Option<String>,
    /// Name or path of the program to run; `keepalived` is the distribution's.
    pub program: String,
    /// Command of keepalived's option `notify`, which gets the type, the name, the state and the
    /// priority as its arguments; `None` for no command.
    pub notify: Option<String>,
}

/// A health check of keepalived: its section `vrrp_script`.
#[derive(Clone, Debug)]
pub struct TrackedScript {
    /// The command that the check runs.
    pub command: String,
    /// Interval of the check, in whole seconds.
    pub interval: Duration,
    /// Number of successes in a row after which the script counts as healthy.
    pub rise: u32,
    /// Number of failures in a row after which the script counts as unhealthy.
    pub fall: u32,
}

/// State of VRRP that keepalived logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Active: keepalived has the virtual addresses on the host's interface.
    Master,
    /// Standby: keepalived waits for the master's adverts to stop.
    Backup,
    /// At fault: keepalived cannot become master.
    Fault,
}

impl KeepalivedSettings {
    /// Returns settings for VRRP version 3 in unicast on `eth0` with adverts every 100 ms, priority
    /// 100 and virtual router 41, in the initial state backup, with preemption. The caller must add
    /// the virtual addresses.
    #[must_use]
    pub fn between(source: IpAddr, peer: IpAddr) -> Self {
        Self {
            interface: "eth0".to_owned(),
            state: Role::Backup,
            virtual_router_id: 41,
            priority: 100,
            version: 3,
            advert_interval: Duration::from_millis(100),
            source,
            peer: Some(peer),
            virtual_addresses: Vec::new(),
            preempt: true,
            preempt_delay: Duration::ZERO,
            auth_pass: None,
            hmac_key: None,
            program: "keepalived".to_owned(),
            track_script: None,
            notify_master: None,
            notify: None,
        }
    }

    /// Returns the time without an advert after which keepalived, as a backup, takes over: three
    /// intervals and the skew of its priority.
    #[must_use]
    pub fn takeover(&self) -> Duration {
        self.advert_interval * 3 + self.skew()
    }

    /// Returns the time from the master's goodbye (an advert with priority 0) until keepalived, as
    /// a backup, takes over (RFC 3768 and RFC 9568, section 6.1).
    #[must_use]
    pub fn skew(&self) -> Duration {
        let unit = if self.version == 2 {
            Duration::from_secs(1)
        } else {
            self.advert_interval
        };
        unit * (256 - u32::from(self.priority)) / 256
    }

    /// Formats the settings as keepalived's configuration file.
    #[must_use]
    pub fn configuration(&self) -> String {
        // Without a `router_id`, keepalived waits for DNS to resolve the host's name.
        let mut text = format!(
            "global_defs {{\n    router_id lab\n    vrrp_version {}\n    script_user root\n}}\n\n",
            self.version
        );
        // Writing to a String cannot fail, here and below, so the result is ignored.
        if let Some(script) = &self.track_script {
            let _ = writeln!(
                text,
                "vrrp_script tracked {{\n    script \"{}\"\n    interval {}\n    rise {}\n    fall {}\n}}\n",
                script.command,
                script.interval.as_secs(),
                script.rise,
                script.fall,
            );
        }
        let _ = writeln!(text, "vrrp_instance {INSTANCE} {{");
        for line in self.instance() {
            let _ = writeln!(text, "    {line}");
        }
        text.push_str("}\n");
        text
    }

    fn instance(&self) -> Vec<String> {
        let state = if self.state == Role::Master {
            "MASTER"
        } else {
            "BACKUP"
        };
        let mut lines = vec![
            format!("state {state}"),
            format!("interface {}", self.interface),
            format!("virtual_router_id {}", self.virtual_router_id),
            format!("priority {}", self.priority),
            format!("advert_int {}", self.advert_interval.as_secs_f64()),
        ];
        match self.peer {
            Some(peer) => {
                lines.push(format!("unicast_src_ip {}", self.source));
                lines.push(format!("unicast_peer {{ {peer} }}"));
            }
            None => lines.push(format!("mcast_src_ip {}", self.source)),
        }
        if !self.virtual_addresses.is_empty() {
            lines.push("virtual_ipaddress {".to_owned());
            lines.extend(self.virtual_addresses.iter().cloned());
            lines.push("}".to_owned());
        }
        if !self.preempt {
            lines.push("nopreempt".to_owned());
        }
        if !self.preempt_delay.is_zero() {
            lines.push(format!(
                "preempt_delay {}",
                self.preempt_delay.as_secs_f64()
            ));
        }
        if let Some(password) = &self.auth_pass {
            lines.push("authentication {".to_owned());
            lines.push("auth_type PASS".to_owned());
            lines.push(format!("auth_pass {password}"));
            lines.push("}".to_owned());
        }
        if let Some(key) = &self.hmac_key {
            lines.push("auth_hmac {".to_owned());
            lines.push(format!("key 1 {key}"));
            lines.push("active_key 1".to_owned());
            lines.push("}".to_owned());
        }
        if self.track_script.is_some() {
            lines.push("track_script { tracked }".to_owned());
        }
        let commands = [
            ("notify_master", &self.notify_master),
            ("notify", &self.notify),
        ];
        for (word, command) in commands {
            if let Some(command) = command {
                lines.push(format!("{word} \"{command}\""));
            }
        }
        lines
    }
}

/// A running keepalived. Dropping it kills keepalived, but leaves its addresses on the host's
/// interfaces.
#[derive(Debug)]
pub struct Keepalived {
    host: Host,
    process: Process,
    /// Offset in the host's log file at which this process's log begins, after those of earlier
    /// keepalived processes.
    log_begins: usize,
}

impl Keepalived {
    /// Starts keepalived on a host and waits until it is master, backup or at fault.
    ///
    /// # Errors
    /// When keepalived is not installed, or refuses its configuration; the error contains what it
    /// logged.
    pub fn start(host: &Host, settings: &KeepalivedSettings) -> Result<Self> {
        let program = host.command(&settings.program);
        Self::start_by(host, &settings.configuration(), program)
    }

    /// Starts keepalived with the text of a configuration file, whose instance must have the name
    /// `VI_1`, and with additional environment variables, which its scripts inherit. Waits as
    /// [`Keepalived::start`] does.
    ///
    /// # Errors
    /// As [`Keepalived::start`].
    pub fn start_with(
        host: &Host,
        configuration: &str,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self> {
        let mut program = host.command("keepalived");
        program.envs(environment);
        Self::start_by(host, configuration, program)
    }

    fn start_by(host: &Host, configuration: &str, mut program: Command) -> Result<Self> {
        host.write(CONFIG_FILE, configuration)?;
        program.args([
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--vrrp",
            "--no-syslog",
            "--use-file",
            CONFIG_FILE,
            "--pid",
            "/run/keepalived/pid",
            "--vrrp_pid",
            "/run/keepalived/vrrp.pid",
        ]);
        // Removes the PID files that an earlier keepalived left behind when it was killed.
        host.script("rm -f /run/keepalived/*.pid /run/keepalived/pid")?;
        let log_begins = host.read("/run/log/keepalived.log").unwrap_or_default();
        let process = Process::start(host, "keepalived", program)
            .context("could not start keepalived (package keepalived)")?;
        let mut started = Self {
            host: host.clone(),
            process,
            log_begins: log_begins.len(),
        };
        match started.wait_until_it_runs() {
            Ok(()) => Ok(started),
            Err(error) => Err(error.context(format!("keepalived logged:\n{}", started.log()))),
        }
    }

    /// Returns the current state according to keepalived's log; `None` before it has logged a
    /// state.
    #[must_use]
    pub fn state(&self) -> Option<Role> {
        self.log().lines().rev().find_map(role_entered)
    }

    /// Returns the sequence of states that keepalived has logged, the oldest first.
    #[must_use]
    pub fn states(&self) -> Vec<Role> {
        self.log().lines().filter_map(role_entered).collect()
    }

    /// Waits until keepalived is in the state `role`.
    ///
    /// # Errors
    /// When keepalived does not enter the state within `limit`; the error contains its log.
    pub fn wait_for(&self, role: Role, limit: Duration) -> Result<()> {
        let what = format!("keepalived on {} becoming {role:?}", self.host.name());
        wait::until_true(&what, limit, || Ok(self.state() == Some(role)))
            .with_context(|| format!("it logged:\n{}", self.log()))
    }

    /// Kills keepalived with SIGKILL: it sends no goodbye (an advert with priority 0), and removes
    /// no virtual address.
    ///
    /// # Errors
    /// When keepalived is not running.
    pub fn kill9(mut self) -> Result<()> {
        // The worker process is killed first: a worker that outlives its parent sends a goodbye (an
        // advert with priority 0). The parent has no time to start another worker.
        for child in self.children()? {
            signal::kill(child, Signal::SIGKILL)?;
        }
        self.process.kill()
    }

    /// Stops keepalived gracefully, so it sends a goodbye (an advert with priority 0).
    ///
    /// # Errors
    /// When keepalived is not running, or does not exit in time.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(ENDING)?;
        ensure!(status.success(), "keepalived ended with {status}");
        Ok(())
    }

    /// Returns what this keepalived has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.process.log();
        log.get(self.log_begins..).unwrap_or_default().to_owned()
    }

    fn wait_until_it_runs(&mut self) -> Result<()> {
        wait::until_true("keepalived with a state", STARTING, || {
            if !self.process.is_running()? {
                bail!("keepalived ended");
            }
            Ok(self.state().is_some())
        })
    }

    /// Returns the process ids of keepalived's worker processes, in the outer PID namespace.
    fn children(&self) -> Result<Vec<Pid>> {
        let pid = self.process.pid().context("keepalived does not run")?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        (children.split_whitespace())
            .map(|child| Ok(Pid::from_raw(child.parse()?)))
            .collect()
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        if !self.process.is_running().unwrap_or(false) {
            return;
        }
        // The worker process is killed too: a worker that outlives its parent sends a goodbye (an
        // advert with priority 0), as if keepalived had been stopped gracefully.
        for child in self.children().unwrap_or_default() {
            let _ = signal::kill(child, Signal::SIGKILL);
        }
    }
}

/// Returns the state that a line of keepalived's log reports, such as `(VI_1) Entering MASTER
/// STATE`; `None` for another line.
fn role_entered(line: &str) -> Option<Role> {
    let (_, entered) = line.split_once(&format!("({INSTANCE}) Entering "))?;
    match entered.split_whitespace().next()? {
        "MASTER" => Some(Role::Master),
        "BACKUP" => Some(Role::Backup),
        "FAULT" => Some(Role::Fault),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_in_the_log_is_known() {
        let line = "Fri Jan  2 10:00:00 2026: (VI_1) Entering MASTER STATE";
        assert_eq!(role_entered(line), Some(Role::Master));
        let line = "Fri Jan  2 10:00:00 2026: (VI_1) Entering BACKUP STATE (init)";
        assert_eq!(role_entered(line), Some(Role::Backup));
        assert_eq!(role_entered("(VI_1) received lower priority"), None);
    }

    #[test]
    fn the_timers_are_those_of_the_version() {
        let [a, b] = [1, 2].map(|last| IpAddr::from([10, 77, 0, last]));
        let mut settings = KeepalivedSettings::between(a, b);
        settings.priority = 128;
        assert_eq!(settings.skew(), Duration::from_millis(50));
        assert_eq!(settings.takeover(), Duration::from_millis(350));
        settings.version = 2;
        settings.advert_interval = Duration::from_secs(1);
        assert_eq!(settings.skew(), Duration::from_millis(500));
        assert_eq!(settings.takeover(), Duration::from_millis(3_500));
    }
}
