//! The agent of `lb` on a balancer host: the real binary, from outside.

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
pub use watch::{Role, Sighting, Timeline, Watch};

/// The configuration's place on a balancer host.
pub const CONFIG_FILE: &str = "/run/lb/lb.toml";

/// The place of the site's certificate and key on a balancer host.
pub const CERTIFICATE_FILE: &str = "/run/lb/tls/site.pem";

/// The place of the secret of the link between the agents, on both balancer hosts.
pub const LINK_SECRET_FILE: &str = "/run/lb/peer.secret";

/// Variables of the agent's environment, a line each, as systemd's `EnvironmentFile` has them.
pub const ENVIRONMENT_FILE: &str = "/run/lb/environment";

/// The folder of the pins, on a balancer host.
pub const PINS: &str = "/sys/fs/bpf/lb";

/// How long the agent may take to serve, and to have found its backends up.
const STARTING: Duration = Duration::from_secs(20);

/// How long the agent may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the agent may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(30);

/// A running agent. Dropping it kills it; what it pinned forwards on until its host ends.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    process: Process,
    /// Where its log begins, after those of its namesakes.
    log_begins: usize,
    quiet: bool,
}

impl Agent {
    /// Installs the certificate, starts an agent on the balancer that the settings are for, and
    /// waits until it serves and every backend is up.
    ///
    /// # Errors
    /// When it does not come up in time: with what it logged.
    pub fn start(lab: &Lab, settings: &Settings) -> Result<Self> {
        install_certificate(lab)?;
        Self::start_on(&lab.balancers[settings.balancer], settings)
    }

    /// Starts an agent on a host that has the certificate, and waits as [`Agent::start`] does.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_on(host: &Host, settings: &Settings) -> Result<Self> {
        host.write(CONFIG_FILE, settings.toml())?;
        Self::start_again(host)
    }

    /// Starts an agent with the configuration, certificate and environment that lie on the host.
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

    /// Starts an agent by a command, and waits as [`Agent::start`] does.
    fn start_by(host: &Host, command: Command) -> Result<Self> {
        let log_begins = host.read("/run/log/lb.log").unwrap_or_default().len();
        let mut agent = Self {
            host: host.clone(),
            log_begins,
            process: Process::start(host, "lb", command)?,
            quiet: false,
        };
        match agent.wait_until_it_serves() {
            Ok(()) => Ok(agent),
            Err(error) => {
                let error = error.context(format!("the agent logged:\n{}", agent.log()));
                // The error has the log. Printed as well, it would end up among a benchmark's figures.
                agent.quiet = true;
                Err(error)
            }
        }
    }

    /// Keeps its log to itself when it ends. Otherwise the log is printed, for the reader of a
    /// failed test.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.process.log();
        log.get(self.log_begins..).unwrap_or_default().to_owned()
    }

    /// The CPU time that the agent's process has used: [`Process::cpu_time`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.process.cpu_time()
    }

    /// Kills it at once: it can tidy nothing up.
    ///
    /// # Errors
    /// When it does not run.
    pub fn sigkill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops it where it is, as a machine does that is paused.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Has it go on where it was.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Has it open its access log again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rotate_log(&self) -> Result<()> {
        self.process.signal(Signal::SIGUSR1)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn sigterm(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(ENDING)
    }

    /// Runs `lb …` beside it, as its operator would, and returns what that printed.
    ///
    /// # Errors
    /// When it does not end with 0.
    pub fn operate(&self, arguments: &[&str]) -> Result<String> {
        self.host.run(path_of(&binary()?)?, arguments)
    }

    /// `lb status --json`.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.operate(&["status", "--json"])?)
            .context("`lb status --json` printed no JSON")
    }

    /// Writes other settings and has them taken over.
    ///
    /// # Errors
    /// When the agent refuses them.
    pub fn reconfigure(&self, settings: &Settings) -> Result<()> {
        self.host.write(CONFIG_FILE, settings.toml())?;
        self.operate(&["reload"]).map(drop)
    }

    /// What `/metrics` says, as text.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub fn metrics_text(&self) -> Result<String> {
        let address = ADMIN.parse()?;
        let scrape = move || scrape::read(address, "/metrics", PATIENCE);
        joined(self.host.inside(scrape))
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// When it does not answer, or with something that cannot be read.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.metrics_text()?)
    }

    /// What it is in the pair, by its metrics; `None` when it does not say.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn role(&self) -> Result<Option<Role>> {
        Ok(Role::of(&self.metrics()?))
    }

    /// Waits until it is `role`.
    ///
    /// # Errors
    /// When it does not become so within `limit`.
    pub fn wait_for_role(&self, role: Role, limit: Duration) -> Result<()> {
        let what = format!("{} becoming {}", self.host.name(), role.name());
        wait::until_true(&what, limit, || Ok(self.role()? == Some(role)))
    }

    /// Waits until its metrics fulfil a condition, and returns them.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub fn wait_for_metrics(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        wait::until(what, limit, || Ok(Some(self.metrics()?).filter(&holds)))
    }

    /// Whether a backend is up, by its metric.
    ///
    /// # Errors
    /// When the agent does not say.
    pub fn is_up(&self, backend: &str) -> Result<bool> {
        let metrics = self.metrics()?;
        let samples = metrics.samples("lb_backend_up", &[("backend", backend)]);
        ensure!(
            !samples.is_empty(),
            "there is no lb_backend_up of {backend}"
        );
        Ok(samples.iter().all(|sample| sample.value == 1.0))
    }

    /// Waits until a backend is up or down.
    ///
    /// # Errors
    /// When it does not become so within `limit`.
    pub fn wait_for_backend(&self, backend: &str, up: bool, limit: Duration) -> Result<()> {
        let state = if up { "up" } else { "down" };
        wait::until_true(&format!("{backend} {state}"), limit, || {
            Ok(self.is_up(backend)? == up)
        })
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        wait::until_true("the agent with all backends up", STARTING, || {
            if !self.process.is_running()? {
                bail!("the agent ended");
            }
            // No answer yet is no answer; what is wrong for good shows at the deadline.
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

/// Puts the site's certificate and its key where the configuration has them, on every balancer.
///
/// # Errors
/// When it cannot be made or written.
pub fn install_certificate(lab: &Lab) -> Result<()> {
    let certificate = lab.authority.certify(SITE)?.pem();
    let mut hosts = lab.balancers.iter();
    hosts.try_for_each(|host| host.write(CERTIFICATE_FILE, &certificate))
}

/// Runs `lb run` on a host where it should refuse to, and returns what came of it.
///
/// # Errors
/// When it cannot be started.
pub fn try_to_run(host: &Host) -> Result<Output> {
    let lb = binary()?;
    // An agent that does start is ended: its status, 124, is no refusal.
    Ok(under(host, &["timeout", "--signal=KILL", "15"])
        .arg(lb)
        .args(["run", "--config", CONFIG_FILE])
        .output()?)
}

/// Runs `lb run` without a capability.
///
/// # Errors
/// When it cannot be started.
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

/// The binary `lb`: what `LB_BINARY` names, or what cargo built beside us.
///
/// # Errors
/// When there is none: how to get it.
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
    // `target/debug/lb-lab`, or a test in `target/debug/deps`.
    let profile = (ours.ancestors().skip(1).take(2))
        .find(|folder| !folder.ends_with("deps"))
        .context("we run from no folder")?;
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
