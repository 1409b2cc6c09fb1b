//! Running the real `lb` binary on a balancer host.

mod metrics;
mod pair;
mod scrape;
mod settings;
mod unit;
mod watch;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Host, Lab, Process, host::joined, topology::SITE, wait};
pub use metrics::{Metrics, Sample};
pub use pair::Pair;
pub use settings::{ADMIN, APP_PORT, HaSettings, Moves, Settings};
pub(crate) use unit::capability_options;
pub use watch::{Role, Sighting, Timeline, Watch};

/// Path of the agent's configuration on a balancer host.
pub const CONFIG_FILE: &str = "/run/lb/lb.toml";

/// Path of the TLS certificate and key of the HTTPS site on a balancer host.
pub const CERTIFICATE_FILE: &str = "/run/lb/tls/site.pem";

/// Path of the file with the secret of the connection between the two agents, on both balancer
/// hosts.
pub const LINK_SECRET_FILE: &str = "/run/lb/peer.secret";

/// Path on a balancer host of the file with the agent's environment variables, one per line, in the
/// format of systemd's `EnvironmentFile`.
pub const ENVIRONMENT_FILE: &str = "/run/lb/environment";

/// Directory of the BPF maps and programs that the agent pins, on a balancer host.
pub const PINS: &str = "/sys/fs/bpf/lb";

/// Time-out for the agent to start, and for its backends to be up.
const STARTING: Duration = Duration::from_secs(20);

/// Time-out of a request to the agent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time-out for the agent to stop.
const ENDING: Duration = Duration::from_secs(30);

/// A running agent. It is killed on drop; the XDP program that it pinned continues to forward until
/// the host ends.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    process: Process,
    /// Offset in the host's log file at which this agent's log begins, after those of earlier
    /// agents.
    log_begins: usize,
    quiet: bool,
    /// Whether the agent's admin port speaks HTTPS, because `[admin]` has a certificate.
    has_https_admin: bool,
}

impl Agent {
    /// Installs the TLS certificate of the HTTPS site, starts an agent on the balancer that the
    /// settings are for, and waits until it serves and every backend is up.
    ///
    /// # Errors
    /// When the agent does not start in time; the error contains its log.
    pub fn start(lab: &Lab, settings: &Settings) -> Result<Self> {
        install_certificate(lab)?;
        Self::start_on(&lab.balancers[settings.balancer], settings)
    }

    /// Starts an agent on a host where the TLS certificate of the HTTPS site is already installed
    /// (see [`install_certificate`]), and waits as [`Agent::start`] does.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_on(host: &Host, settings: &Settings) -> Result<Self> {
        host.write(CONFIG_FILE, settings.toml())?;
        Self::start_again(host)
    }

    /// Starts an agent with the configuration file, TLS certificate and environment file that are
    /// already on the host.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_again(host: &Host) -> Result<Self> {
        let mut command = host.command(binary()?);
        command.args(["run", "--config", CONFIG_FILE]);
        if let Ok(environment) = host.read(ENVIRONMENT_FILE) {
            command.envs(environment.lines().filter_map(|line| line.split_once('=')));
        }
        Self::start_by(host, command)
    }

    /// Starts an agent with the given command, and waits as [`Agent::start`] does.
    fn start_by(host: &Host, command: Command) -> Result<Self> {
        let log_begins = host.read("/run/log/lb.log").unwrap_or_default().len();
        let mut agent = Self {
            host: host.clone(),
            log_begins,
            process: Process::start(host, "lb", command)?,
            quiet: false,
            has_https_admin: has_https_admin(&host.read(CONFIG_FILE).unwrap_or_default()),
        };
        match agent.wait_until_it_serves() {
            Ok(()) => Ok(agent),
            Err(error) => {
                let error = error.context(format!("the agent logged:\n{}", agent.log()));
                // The error contains the log. If the log were printed on drop as well, it would
                // appear among a benchmark's figures.
                agent.quiet = true;
                Err(error)
            }
        }
    }

    /// Suppresses the printing of the agent's log on drop, which is meant for failed tests.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Returns the host that the agent runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns what the agent has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.process.log();
        log.get(self.log_begins..).unwrap_or_default().to_owned()
    }

    /// Returns the CPU time that the agent's process has used: see [`Process::cpu_time`].
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.process.cpu_time()
    }

    /// Kills the agent with SIGKILL, so it cannot clean up.
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn sigkill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Suspends the agent (SIGSTOP), as if the machine were paused.
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Resumes a suspended agent (SIGCONT).
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn go_on(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Makes the agent reopen its access log, as after a rotation.
    ///
    /// # Errors
    /// When the agent is not running.
    pub fn rotate_log(&self) -> Result<()> {
        self.process.signal(Signal::SIGUSR1)
    }

    /// Stops the agent with SIGTERM, and waits until it has exited.
    ///
    /// # Errors
    /// When the agent is not running, or does not exit in time.
    pub fn sigterm(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(ENDING)
    }

    /// Runs `lb` with these arguments on the agent's host, as an operator would, and returns the
    /// output.
    ///
    /// # Errors
    /// When the exit status is not 0.
    pub fn operate(&self, arguments: &[&str]) -> Result<String> {
        self.host.run(path_of(&binary()?)?, arguments)
    }

    /// Returns the parsed output of `lb status --json`.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.operate(&["status", "--json"])?)
            .context("`lb status --json` printed no JSON")
    }

    /// Replaces the configuration by one with these settings, and reloads the agent.
    ///
    /// # Errors
    /// When the agent refuses the configuration.
    pub fn reconfigure(&self, settings: &Settings) -> Result<()> {
        self.host.write(CONFIG_FILE, settings.toml())?;
        self.operate(&["reload"]).map(drop)
    }

    /// Returns `/metrics` as text.
    ///
    /// # Errors
    /// When the agent does not answer with status 200.
    pub fn metrics_text(&self) -> Result<String> {
        if self.has_https_admin {
            let url = format!("https://{ADMIN}/metrics");
            let patience = PATIENCE.as_secs().max(1).to_string();
            let all = ["-sSk", "--fail", "--max-time", &patience, &url];
            return self.host.run("curl", &all);
        }
        let address = ADMIN.parse()?;
        let scrape = move || scrape::read(address, "/metrics", PATIENCE);
        joined(self.host.inside(scrape))
    }

    /// Returns the parsed `/metrics`.
    ///
    /// # Errors
    /// When the agent does not answer, or its answer cannot be parsed.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.metrics_text()?)
    }

    /// Returns the agent's role according to its metrics; `None` if they do not contain a role.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn role(&self) -> Result<Option<Role>> {
        Ok(Role::of(&self.metrics()?))
    }

    /// Waits until the agent has the role `role`.
    ///
    /// # Errors
    /// When the agent does not have the role within `limit`.
    pub fn wait_for_role(&self, role: Role, limit: Duration) -> Result<()> {
        let what = format!("{} becoming {}", self.host.name(), role.name());
        wait::until_true(&what, limit, || Ok(self.role()? == Some(role)))
    }

    /// Waits until the agent's metrics satisfy a condition, and returns them.
    ///
    /// # Errors
    /// When the metrics do not satisfy the condition within `limit`.
    pub fn wait_for_metrics(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        wait::until(what, limit, || Ok(Some(self.metrics()?).filter(&holds)))
    }

    /// Whether a backend is up, according to the agent's metric of it.
    ///
    /// # Errors
    /// When the agent does not answer, or has no metric of the backend.
    pub fn is_up(&self, backend: &str) -> Result<bool> {
        let metrics = self.metrics()?;
        let samples = metrics.samples("lb_backend_up", &[("backend", backend)]);
        ensure!(
            !samples.is_empty(),
            "there is no lb_backend_up of {backend}"
        );
        Ok(samples.iter().all(|sample| sample.value == 1.0))
    }

    /// Waits until a backend is up, or down if `up` is false.
    ///
    /// # Errors
    /// When the backend does not become so within `limit`.
    pub fn wait_for_backend(&self, backend: &str, up: bool, limit: Duration) -> Result<()> {
        let state = if up { "up" } else { "down" };
        wait::until_true(&format!("{backend} {state}"), limit, || {
            Ok(self.is_up(backend)? == up)
        })
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        wait::until_true("the agent with all backends up", STARTING, || {
            if !self.process.is_running()? {
                bail!("the agent exited");
            }
            // A request may fail while the agent starts; a permanent fault shows when the time-out
            // is over.
            let Ok(metrics) = self.metrics() else {
                return Ok(false);
            };
            let up = metrics.samples("lb_backend_up", &[]);
            Ok(!up.is_empty() && up.iter().all(|sample| sample.value == 1.0))
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.quiet {
            println!(
                "the log of the agent of {}:\n{}",
                self.host.name(),
                self.log()
            );
        }
    }
}

/// Returns whether `[admin]` of a configuration file has a certificate.
fn has_https_admin(toml: &str) -> bool {
    let lines = toml.lines().skip_while(|line| *line != "[admin]").skip(1);
    let mut keys = lines.take_while(|line| !line.starts_with('['));
    keys.any(|line| line.starts_with("certificate ="))
}

/// Installs the TLS certificate and key of the HTTPS site on every balancer, at the path in the
/// configuration.
///
/// # Errors
/// When the certificate cannot be made or written.
pub fn install_certificate(lab: &Lab) -> Result<()> {
    let certificate = lab.authority.certify(SITE)?.pem();
    let mut hosts = lab.balancers.iter();
    hosts.try_for_each(|host| host.write(CERTIFICATE_FILE, &certificate))
}

/// Runs `lb run` on a host where it should refuse to start, and returns its exit status and output.
///
/// # Errors
/// When `lb` cannot be started.
pub fn try_to_run(host: &Host) -> Result<Output> {
    let lb = binary()?;
    // An agent that does start is killed by `timeout` after 15 s.
    Ok(under(host, &["timeout", "--signal=KILL", "15"])
        .arg(lb)
        .args(["run", "--config", CONFIG_FILE])
        .output()?)
}

/// Runs `lb run` without the given `capabilities`, and returns its exit status and output.
///
/// # Errors
/// When `lb` cannot be started.
pub fn try_to_run_without(host: &Host, capabilities: &str) -> Result<Output> {
    let set = format!("--bounding-set={capabilities}");
    let wrapper = ["timeout", "--signal=KILL", "15", "setpriv", &set, "--"];
    Ok(under(host, &wrapper)
        .arg(binary()?)
        .args(["run", "--config", CONFIG_FILE])
        .output()?)
}

fn under(host: &Host, wrapper: &[&str]) -> Command {
    let mut command = host.command(wrapper[0]);
    command.args(&wrapper[1..]);
    command
}

/// Returns the path of the binary `lb`: the value of `LB_BINARY`, or the path of the one that cargo
/// built beside this program.
///
/// # Errors
/// When there is no such binary; the error explains how to build it.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = env::var_os("LB_BINARY") {
        let named = PathBuf::from(named);
        ensure!(
            named.is_file(),
            "LB_BINARY is {}, where there is no file",
            named.display()
        );
        return Ok(named.canonicalize()?);
    }
    let ours = env::current_exe()?;
    // This program is `target/PROFILE/lb-lab`, or a test in `target/PROFILE/deps`.
    let profile = (ours.ancestors().skip(1).take(2))
        .find(|folder| !folder.ends_with("deps"))
        .context("the path of this program has no directory")?;
    let target = profile.parent().unwrap_or(profile);
    [
        profile.to_owned(),
        target.join("release"),
        target.join("debug"),
    ]
    .iter()
    .map(|folder| folder.join("lb"))
    .find(|lb| lb.is_file())
    .with_context(|| {
        format!(
            "there is no `lb` in {}: build it with `cargo xtask build`, or name one in LB_BINARY",
            target.display()
        )
    })
}

fn path_of(binary: &Path) -> Result<&str> {
    binary.to_str().context("the path of `lb` is not UTF-8")
}
