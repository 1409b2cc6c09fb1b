//! The test network of the tests of `lb doctor`.

use anyhow::{Context as _, Result};
use lab::{
    Host, Lab, Process,
    agent::{Agent, CONFIG_FILE, Pair, Settings, binary, install_certificate},
    ec2::{FakeEc2, Imds},
    topology::{ELASTIC_IP, SITE},
};
use std::sync::Arc;

use crate::report::Doctor;

/// A test network, with the agents, processes and fake AWS services that a set-up broken on purpose
/// may need.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) agent: Option<Agent>,
    pub(crate) pair: Option<Pair>,
    /// Processes that a broken set-up has started.
    pub(crate) processes: Vec<Process>,
    pub(crate) ec2: Option<Arc<FakeEc2>>,
    pub(crate) imds: Option<Imds>,
    pub(crate) doctor: Doctor,
    pub(crate) settings: Settings,
    pub(crate) lab: Lab,
    /// The index of the balancer that `lb doctor` examines.
    pub(crate) balancer: usize,
}

impl Site {
    /// Prepares a test network whose first balancer has a certificate and a configuration, and no
    /// agent.
    pub(crate) fn with(lab: Lab, settings: Settings) -> Result<Self> {
        install_certificate(&lab)?;
        for host in &lab.balancers {
            host.write(
                "/run/hosts",
                format!("127.0.0.1 localhost\n{ELASTIC_IP} {SITE}\n"),
            )?;
            host.script("mount --bind /run/hosts /etc/hosts")?;
        }
        let site = Self {
            agent: None,
            pair: None,
            processes: Vec::new(),
            ec2: None,
            imds: None,
            doctor: Doctor::default(),
            settings,
            lab,
            balancer: 0,
        };
        site.configure()?;
        Ok(site)
    }

    /// Returns the host that `lb doctor` examines.
    pub(crate) fn host(&self) -> &Host {
        &self.lab.balancers[self.balancer]
    }

    /// Writes the configuration file of `settings` on the host that `lb doctor` examines.
    pub(crate) fn configure(&self) -> Result<()> {
        self.host().write(CONFIG_FILE, self.settings.toml())
    }

    /// Runs a shell script on the host that `lb doctor` examines. If the script begins with the
    /// command `lb`, the binary under test is run.
    pub(crate) fn script(&self, script: &str) -> Result<()> {
        let lb = binary()?;
        let lb = lb.to_str().context("the path of lb is not UTF-8")?;
        let script = match script.strip_prefix("lb ") {
            Some(arguments) => format!("{lb} {arguments}"),
            None => script.to_owned(),
        };
        self.host().script(&script).map(drop)
    }
}
