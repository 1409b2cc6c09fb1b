//! The agent: connects the other modules, and keeps their state consistent.
//!
//! The start is ordered so that a failed step leaves nothing half done: the configuration is checked
//! first, then sockets and listeners are bound, and only then is the XDP program attached. From then
//! on one loop handles all events (outcomes of checks, commands of the operator, signals), so that
//! every change is made in one place and in order.

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

/// Time allowed for requests in flight to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the agent with the configuration in `file` until SIGTERM or SIGINT. The XDP program stays
/// attached after that: flows continue until the next agent starts.
///
/// # Errors
/// The reason why the agent cannot start; nothing is left behind then.
pub fn run(file: &Path) -> Result<(), Error> {
    let draft = read(file)?;
    runtime()?.block_on(start_and_run(file.to_owned(), draft.config))
}

/// Takes over from the agent that started this process, and runs as [`fn@run`] does. The channel to that
/// agent is standard input: see [`TAKE_OVER`].
///
/// # Errors
/// The reason why this process cannot take over; the other agent continues to serve then.
pub fn take_over(file: &Path) -> Result<(), Error> {
    if !is_detached() {
        return detach().map_err(Error::TakeOver);
    }
    let predecessor = Predecessor::at_standard_input().map_err(Error::TakeOver)?;
    let predecessor = Arc::new(predecessor);
    let draft = read(file).inspect_err(|error| {
        // The send fails only if the predecessor has ended.
        let _gone = predecessor.tell(Err(error));
    })?;
    let inherited = predecessor.inherit().map_err(Error::TakeOver)?;
    let config = draft.config;
    runtime()?.block_on(async move {
        let signals = run::Signals::listen().map_err(Error::Runtime)?;
        let started = start_agent(file.to_owned(), config, inherited);
        // If the predecessor has ended in the meantime, this process has to serve anyway.
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
        // These threads serve the checks and the admin server; the HTTP front has its own.
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

/// Refuses backends that packets cannot reach. This is not a [`DraftError`], after which the service
/// manager does not restart the agent: the file is valid, and a route may be added later.
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
