//! The two agents of a pair.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    Agent, CONFIG_FILE, ENVIRONMENT_FILE, LINK_SECRET_FILE, Role, Settings, Watch, binary,
    install_certificate,
};
use crate::{Host, Lab, wait};

/// What is 1 on both hosts of a pair whose link is as it should be.
const LINK_GAUGES: [&str; 2] = ["lb_peer_link_up", "lb_peer_flows_synced"];

/// Time-out for a pair to agree on its roles and synchronise.
const AGREEING: Duration = Duration::from_secs(20);

/// The agents of both balancers, in the order of [`crate::topology::BALANCERS`]; `None` where none
/// runs.
#[derive(Debug)]
pub struct Pair {
    hosts: Vec<Host>,
    agents: [Option<Agent>; 2],
    quiet: bool,
}

impl Pair {
    /// Installs the files of both, starts them, and waits until the first is active and the second
    /// is standby, with the link up if there is one.
    ///
    /// # Errors
    /// When they do not get there; the error contains their logs.
    pub fn start(lab: &Lab, settings: &[Settings; 2]) -> Result<Self> {
        Self::install(lab, settings)?.started()
    }

    /// As [`Pair::start`], with the credentials from the metadata service and not from the
    /// environment.
    ///
    /// # Errors
    /// As [`Pair::start`].
    pub fn start_with_metadata(lab: &Lab, settings: &[Settings; 2]) -> Result<Self> {
        let pair = Self::install(lab, settings)?;
        for host in &pair.hosts {
            host.write(ENVIRONMENT_FILE, "")?;
        }
        pair.started()
    }

    fn started(mut self) -> Result<Self> {
        let pair = &mut self;
        pair.start_again(0)?;
        pair.start_again(1)?;
        pair.wait_until_agreed(0)?;
        Ok(self)
    }

    /// Writes the certificate, the configurations of both, and the link's secret, where they have a
    /// link; starts nothing.
    ///
    /// # Errors
    /// When a file cannot be written, or `lb peer init` makes no secret.
    pub fn install(lab: &Lab, settings: &[Settings; 2]) -> Result<Self> {
        install_certificate(lab)?;
        let hosts = lab.balancers.clone();
        let has_link = |settings: &Settings| settings.ha.as_ref().is_some_and(|ha| ha.link);
        if settings.iter().any(has_link) {
            share_link_secret(&hosts)?;
        }
        for (host, settings) in hosts.iter().zip(settings) {
            host.write(CONFIG_FILE, settings.toml())?;
            // The lab's clouds take any; they do not look at the signature.
            host.write(
                ENVIRONMENT_FILE,
                format!(
                    "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY=lab\n",
                    host.name()
                ),
            )?;
        }
        Ok(Self {
            hosts,
            agents: [None, None],
            quiet: false,
        })
    }

    /// Suppresses the agents' logs at the end.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self.agents = self.agents.map(|agent| agent.map(Agent::quiet));
        self
    }

    /// Starts the agent of a host with the installed files.
    ///
    /// # Errors
    /// When it does not come up: with what it logged.
    pub fn start_again(&mut self, index: usize) -> Result<()> {
        let mut agent = Agent::start_again(&self.hosts[index])?;
        if self.quiet {
            agent = agent.quiet();
        }
        self.agents[index] = Some(agent);
        Ok(())
    }

    /// The host of that index.
    #[must_use]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// The agent of that host.
    ///
    /// # Errors
    /// When it is not running.
    pub fn agent(&self, index: usize) -> Result<&Agent> {
        let name = self.hosts[index].name();
        let agent = self.agents[index].as_ref();
        agent.with_context(|| format!("no agent runs on {name}"))
    }

    /// Takes the agent of that host, to end it.
    ///
    /// # Errors
    /// When it is not running.
    pub fn take(&mut self, index: usize) -> Result<Agent> {
        let name = self.hosts[index].name();
        self.agents[index]
            .take()
            .with_context(|| format!("no agent runs on {name}"))
    }

    /// Waits until this host is active and the other standby, and, if they have a link, it is up,
    /// both have the flows, and either could take over.
    ///
    /// # Errors
    /// When they do not come to that: with what both say of themselves.
    pub fn wait_until_agreed(&self, active: usize) -> Result<()> {
        let what = format!(
            "{} active and the other standing by",
            self.hosts[active].name()
        );
        let agreed = wait::until_true(&what, AGREEING, || {
            let (master, backup) = (
                self.agent(active)?.metrics()?,
                self.agent(1 - active)?.metrics()?,
            );
            let linked = [&master, &backup].iter().all(|metrics| {
                let mut gauges = LINK_GAUGES
                    .iter()
                    .flat_map(|name| metrics.samples(name, &[]));
                gauges.all(|gauge| gauge.value == 1.0)
            });
            Ok(Role::of(&master) == Some(Role::Master)
                && Role::of(&backup) == Some(Role::Backup)
                && linked
                && self.knows_its_peer(active)?)
        });
        agreed.with_context(|| format!("they say of themselves:\n{}", self.statuses()))
    }

    /// Whether this host knows that the other one can take over, which needs a link.
    fn knows_its_peer(&self, active: usize) -> Result<bool> {
        let ha = &self.agent(active)?.status()?["ha"];
        Ok(ha["link"].is_null() || ha["peer"]["ready"] == true)
    }

    /// Whether what is on each host says that it is active, in the order of the hosts. An agent that
    /// does not answer is not.
    #[must_use]
    pub fn actives(&self) -> [bool; 2] {
        self.agents.each_ref().map(|agent| {
            matches!(
                agent.as_ref().map(Agent::role),
                Some(Ok(Some(Role::Master)))
            )
        })
    }

    /// Begins to watch the roles of both.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::start(&self.hosts)
    }

    /// The status of both, for failed tests.
    #[must_use]
    pub fn statuses(&self) -> String {
        let say = |agent: &Option<Agent>| match agent {
            None => "it does not run\n".to_owned(),
            Some(agent) => agent.status().map_or_else(
                |error| format!("{error:#}\n"),
                |status| format!("{:#}\n", status["ha"]),
            ),
        };
        (self.hosts.iter().zip(&self.agents))
            .map(|(host, agent)| format!("{}: {}", host.name(), say(agent)))
            .collect()
    }
}

/// Has `lb peer init` make a secret on the first host, and copies it to the others.
fn share_link_secret(hosts: &[Host]) -> Result<()> {
    let [first, others @ ..] = hosts else {
        return Ok(());
    };
    let lb: PathBuf = binary()?;
    let output = first
        .command(lb)
        .args(["peer", "init", "--out", LINK_SECRET_FILE])
        .output()?;
    ensure!(
        output.status.success(),
        "`lb peer init` ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let secret = first.read(LINK_SECRET_FILE)?;
    others
        .iter()
        .try_for_each(|host| host.write(LINK_SECRET_FILE, &secret))
}
