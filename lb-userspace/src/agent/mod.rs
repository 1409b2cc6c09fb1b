//! The agent: wires the rooms together, and keeps them in step.
//!
//! It starts in an order in which a step that fails leaves nothing half done: what can be checked
//! is checked first, then sockets and listeners are bound, and only then does the XDP program take
//! packets. From then on one loop takes in what happens (outcomes of checks, the operator's
//! orders, signals), so that every change is made by one hand and in order.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    config::Config,
    dataplane::{self, Dataplane},
};

mod draft;
mod error;
mod feeds;
mod kernel;
mod pair;
mod report;
mod run;
mod shared;
mod start;

pub use draft::{Draft, DraftError, summary};
pub use error::Error;

/// How long requests that are under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the agent on the configuration in `file` until it is told to stop by SIGTERM or SIGINT.
/// The XDP program stays attached after that: flows go on until the next agent comes.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left behind then.
pub fn run(file: &Path) -> Result<(), Error> {
    let draft = Draft::read(file)?;
    for warning in &draft.warnings {
        tracing::warn!("{warning}");
    }
    refuse_unreachable(&draft)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Checks and the admin server; the HTTP front has threads of its own.
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(start_and_run(file.to_owned(), draft.config))
}

/// Routes may come up after the agent, and are no fault of the file: this is not a [`DraftError`],
/// with which a service manager gives up.
fn refuse_unreachable(draft: &Draft) -> Result<(), Error> {
    let Config { node, services, .. } = &draft.config;
    let unreachable = dataplane::unreachable(&node.interfaces, services)?;
    draft.refuse(unreachable).map_err(Error::Unreachable)
}

async fn start_and_run(file: PathBuf, config: Config) -> Result<(), Error> {
    let signals = run::Signals::listen().map_err(Error::Runtime)?;
    let agent = start::start(file, config, Dataplane::open)?;
    agent.run(signals).await
}
