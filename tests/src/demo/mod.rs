//! The demo: starts the lab, sends traffic, causes failures, and shows the effects.
//!
//! The lab is a set of network namespaces, one for each host, as in the end-to-end tests.

mod monitoring;
mod pair;
mod paired;
mod roles;
mod screen;
mod steps;
mod tour;
mod watch;

use anyhow::{Context as _, Result};
use lab::{
    Lab,
    agent::{Agent, Settings},
    monitoring::Monitor,
};
use paired::Paired;
use screen::Screen;

/// State of the demo, which its steps share.
pub(crate) struct Stage {
    screen: Screen,
    lab: Lab,
    settings: Settings,
    /// The agent of `lb-a`; `None` while it is not running, and after the pair has been started.
    agent: Option<Agent>,
    /// Both agents, after the second balancer has joined; `None` before.
    paired: Option<Paired>,
    /// Prometheus; `None` unless it was asked for.
    monitor: Option<Monitor>,
}

/// Runs the demo. With `once` it ends after the last step; otherwise the test network runs until a
/// signal.
///
/// # Errors
/// When a step fails; later steps are not run.
pub(crate) fn run(once: bool, monitoring: bool) -> Result<()> {
    let screen = Screen::new();
    let shown = show(screen, once, monitoring);
    if let Err(error) = &shown {
        screen.failed(&format!("{error:#}"));
    }
    shown
}

fn show(screen: Screen, once: bool, monitoring: bool) -> Result<()> {
    let mut stage = steps::raise(screen, monitoring)?;
    if monitoring {
        monitoring::begin(&mut stage)?;
    }
    steps::http(&stage)?;
    steps::https(&stage)?;
    steps::backend_fails(&mut stage)?;
    steps::backend_is_drained(&stage)?;
    steps::agent_is_killed(&mut stage)?;
    pair::lb_b_joins(&mut stage)?;
    pair::active_host_dies(&stage)?;
    pair::operator_hands_over(&stage)?;
    steps::status(&stage)?;
    monitoring::look(&stage)?;
    if once {
        screen.headline("All checks passed.");
        return Ok(());
    }
    tour::offer(&stage)?;
    // A signal terminates this process, and the test network ends with this process.
    loop {
        std::thread::park();
    }
}

impl Stage {
    /// Returns the agent of `lb-a`; an error if it is not running.
    fn agent(&self) -> Result<&Agent> {
        match &self.paired {
            Some(paired) => paired.pair.agent(0),
            None => self.agent.as_ref().context("the agent is not running"),
        }
    }

    fn paired(&self) -> Result<&Paired> {
        self.paired
            .as_ref()
            .context("the pair has not been started")
    }
}
