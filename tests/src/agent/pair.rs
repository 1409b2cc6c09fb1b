//! Starting and observing the two agents of a pair.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    Agent, CONFIG_FILE, ENVIRONMENT_FILE, LINK_SECRET_FILE, Role, Settings, Watch, binary,
    install_certificate,
};
use crate::{Host, Lab, wait};

/// Metrics that are 1 on both hosts of a pair if the link between their agents is up and the
/// standby has the flows of the active host.
const LINK_GAUGES: [&str; 2] = ["lb_peer_link_up", "lb_peer_flows_synced"];

/// Time-out for the hosts of a pair to agree on their roles, and for the standby to be synced.
const AGREEING: Duration = Duration::from_secs(20);

/// The agents of both balancers, in the order of [`crate::topology::BALANCERS`]; `None` for a
/// balancer whose agent is not running.
#[derive(Debug)]
pub struct Pair {
    hosts: Vec<Host>,
    agents: [Option<Agent>; 2],
    quiet: bool,
}

impl Pair {
    /// Installs the files of both hosts, starts their agents, and waits until the first is active
    /// and the second is standby, with the link between the agents up if the settings configure
    /// one.
    ///
    /// # Errors
    /// When the pair does not get there; the error contains the logs of both agents.
    pub fn start(lab: &Lab, settings: &[Settings; 2]) -> Result<Self> {
        Self::install(lab, settings)?.started()
    }

    /// Like [`Pair::start`], but the agents get their AWS credentials from the metadata service
    /// instead of the environment.
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

    /// Writes the TLS certificate of the HTTPS site, the configurations of both hosts and, if the
    /// settings configure a link between the agents, its secret. Starts no agent.
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
            // The EC2 APIs of the tests do not verify signatures, so they accept any credentials.
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

    /// Suppresses the printing of both agents' logs on drop.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self.agents = self.agents.map(|agent| agent.map(Agent::quiet));
        self
    }

    /// Starts the agent of the host with the index `index`, with the files that are installed
    /// there.
    ///
    /// # Errors
    /// When the agent does not come up; the error contains what it logged.
    pub fn start_again(&mut self, index: usize) -> Result<()> {
        let mut agent = Agent::start_again(&self.hosts[index])?;
        if self.quiet {
            agent = agent.quiet();
        }
        self.agents[index] = Some(agent);
        Ok(())
    }

    /// Returns the host with this index in [`crate::topology::BALANCERS`].
    #[must_use]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Returns the agent of the host with this index.
    ///
    /// # Errors
    /// When that agent is not running.
    pub fn agent(&self, index: usize) -> Result<&Agent> {
        let name = self.hosts[index].name();
        let agent = self.agents[index].as_ref();
        agent.with_context(|| format!("no agent runs on {name}"))
    }

    /// Removes the agent of the host with this index from the pair, so the caller can stop or kill
    /// it.
    ///
    /// # Errors
    /// When that agent is not running.
    pub fn take(&mut self, index: usize) -> Result<Agent> {
        let name = self.hosts[index].name();
        self.agents[index]
            .take()
            .with_context(|| format!("no agent runs on {name}"))
    }

    /// Waits until the host with the index `active` is active and the other host is standby and, if
    /// a link between the agents is configured, until the link is up, the standby is synced, and
    /// either host could take over.
    ///
    /// # Errors
    /// When the hosts do not come to that; the error contains the status of both agents.
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

    /// Whether the host with the index `active` knows that its peer can take over; true if no link
    /// between the agents is configured.
    fn knows_its_peer(&self, active: usize) -> Result<bool> {
        let ha = &self.agent(active)?.status()?["ha"];
        Ok(ha["link"].is_null() || ha["peer"]["ready"] == true)
    }

    /// Returns for each host, in the order of [`crate::topology::BALANCERS`], whether its agent
    /// reports that it is active. An agent that does not answer counts as not active.
    #[must_use]
    pub fn actives(&self) -> [bool; 2] {
        self.agents.each_ref().map(|agent| {
            matches!(
                agent.as_ref().map(Agent::role),
                Some(Ok(Some(Role::Master)))
            )
        })
    }

    /// Starts recording the roles of both agents over time.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::start(&self.hosts)
    }

    /// Returns the status of both agents as text, for the messages of failed tests.
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

/// Makes a secret for the link between the agents with `lb peer init` on the first host, and copies
/// it to the other hosts.
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
