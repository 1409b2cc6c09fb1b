//! The demo: raises the lab, sends traffic, breaks things, and shows what happens.

mod screen;
mod steps;
mod tour;
mod watch;

use anyhow::Result;
use lab::{
    Lab,
    agent::{Agent, Settings},
};
use screen::Screen;

/// What a step has to work with.
pub(crate) struct Stage {
    screen: Screen,
    lab: Lab,
    settings: Settings,
    /// `None` while it is dead.
    agent: Option<Agent>,
}

/// Runs the demo. With `once` it ends after the last step; without, the lab stays until a signal
/// ends us.
///
/// # Errors
/// When a step failed: the later ones are not tried.
pub(crate) fn run(once: bool) -> Result<()> {
    let screen = Screen::new();
    let shown = show(screen, once);
    if let Err(error) = &shown {
        screen.failed(&format!("{error:#}"));
    }
    shown
}

fn show(screen: Screen, once: bool) -> Result<()> {
    let mut stage = steps::raise(screen)?;
    steps::http(&stage)?;
    steps::https(&stage)?;
    steps::backend_dies(&mut stage)?;
    steps::backend_is_drained(&stage)?;
    steps::agent_is_killed(&mut stage)?;
    steps::status(&stage)?;
    if once {
        screen.headline("All of it was so.");
        return Ok(());
    }
    tour::offer(&stage)?;
    // A signal ends us, and the lab with us.
    loop {
        std::thread::park();
    }
}

impl Stage {
    fn agent(&self) -> Result<&Agent> {
        anyhow::Context::context(self.agent.as_ref(), "the agent does not run")
    }
}
