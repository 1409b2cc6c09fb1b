//! The agent: wires the rooms together, and keeps them in step.
//!
//! It starts in an order in which a step that fails leaves nothing half done: what can be checked
//! is checked first, then sockets and listeners are bound, and only then does the XDP program take
//! packets. From then on one loop takes in what happens (outcomes of checks, the operator's
//! orders, signals), so that every change is made by one hand and in order.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{self, Config},
    dataplane::{self, Dataplane},
};

mod draft;
mod error;
mod feeds;
mod file_watch;
mod kernel;
mod pair;
mod report;
mod run;
mod shared;
mod start;
mod upgrade;

pub use draft::{Draft, DraftError, summary};
pub use error::Error;
pub use report::metric_families;
pub use upgrade::TAKE_OVER;
use upgrade::{Inherited, Predecessor, detach, is_detached};

/// How long requests that are under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the agent on the configuration in `file` until it is told to stop by SIGTERM or SIGINT.
/// The XDP program stays attached after that: flows go on until the next agent comes.
///
/// # Errors
/// Whatever keeps it from starting; nothing is left behind then.
pub fn run(file: &Path) -> Result<(), Error> {
    let draft = read(file)?;
    runtime()?.block_on(start_and_run(file.to_owned(), draft.config))
}

/// Takes over from the agent that started this process, and runs as [`run`] does. The channel to that
/// agent is standard input: see [`TAKE_OVER`].
///
/// # Errors
/// Whatever keeps it from starting; the other agent serves on then.
pub fn take_over(file: &Path) -> Result<(), Error> {
    if !is_detached() {
        return detach().map_err(Error::TakeOver);
    }
    let predecessor = Predecessor::at_standard_input().map_err(Error::TakeOver)?;
    let predecessor = Arc::new(predecessor);
    let draft = read(file).inspect_err(|error| {
        // It finds out by itself when it has ended.
        let _gone = predecessor.tell(Err(error));
    })?;
    let inherited = predecessor.inherit().map_err(Error::TakeOver)?;
    let config = draft.config;
    runtime()?.block_on(async move {
        let signals = run::Signals::listen().map_err(Error::Runtime)?;
        let started = start_agent(file.to_owned(), config, inherited);
        // One that has ended meanwhile serves no more, all the more reason to.
        let _gone = predecessor.tell(started.as_ref().map(drop));
        drop(predecessor);
        started?.run(signals).await
    })
}

fn read(file: &Path) -> Result<Draft, Error> {
    let draft = Draft::read(file)?;
    for warning in &draft.warnings {
        tracing::warn!(warning = %warning, "configuration warning");
    }
    refuse_unreachable(&draft)?;
    Ok(draft)
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        // Checks and the admin server; the HTTP front has threads of its own.
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .map_err(Error::Runtime)
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
    start_agent(file, config, Inherited::default())?
        .run(signals)
        .await
}

fn start_agent(
    file: PathBuf,
    config: Config,
    mut inherited: Inherited,
) -> Result<run::Agent<Dataplane>, Error> {
    let lock = inherited.lock(&config.dataplane.pin_path);
    let open =
        |node: &config::Node, settings: &config::Dataplane| Dataplane::open(node, settings, lock);
    start::start(file, config, inherited, open)
}
