//! The agent: connects the other modules, and keeps their states consistent.
//!
//! The steps of a start are ordered so that a step that fails leaves nothing half done: the
//! configuration is checked first, then sockets and listeners are bound, and only then is the XDP
//! program attached. From then on one loop handles all events (outcomes of checks, commands of the
//! operator, signals), so that every change is made in one place and in order.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{self, Config},
    dataplane::{self, Dataplane},
    logging::Logging,
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

/// How long requests in flight may continue after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the agent with the configuration in `file` until SIGTERM or SIGINT. The XDP program stays
/// attached after that: flows continue until the next agent starts. The configuration's format and
/// level of the log are put in force, and the events of `logging` are saved from the start on.
///
/// # Errors
/// The reason why the agent cannot start; nothing is left behind then.
pub fn run(file: &Path, logging: Logging) -> Result<(), Error> {
    let draft = read(file, &logging)?;
    runtime()?.block_on(start_and_run(file.to_owned(), draft.config, logging))
}

/// Takes over from the agent that started this process, and runs as [`fn@run`] does. Standard input
/// is the channel to that agent: see [`TAKE_OVER`].
///
/// # Errors
/// The reason why this process cannot take over; the other agent continues to serve then.
pub fn take_over(file: &Path, logging: Logging) -> Result<(), Error> {
    if !is_detached() {
        return detach().map_err(Error::TakeOver);
    }
    let predecessor = Predecessor::at_standard_input().map_err(Error::TakeOver)?;
    let predecessor = Arc::new(predecessor);
    let draft = read(file, &logging).inspect_err(|error| {
        // The send fails only if the predecessor has ended.
        let _gone = predecessor.report(Err(error));
    })?;
    let inherited = predecessor.inherit().map_err(Error::TakeOver)?;
    runtime()?.block_on(async move {
        let signals = run::Signals::listen().map_err(Error::Runtime)?;
        let started = start_agent(file.to_owned(), &draft.config, inherited, logging);
        // If the predecessor has ended in the meantime, this process has to serve anyway.
        let _gone = predecessor.report(started.as_ref().map(drop));
        drop(predecessor);
        started?.run(signals).await
    })
}

fn read(file: &Path, logging: &Logging) -> Result<Draft, Error> {
    let draft = Draft::read(file)?;
    logging.configure(&draft.config.log);
    for warning in &draft.warnings {
        tracing::warn!(warning = %warning, "configuration warning");
    }
    refuse_unreachable(&draft)?;
    Ok(draft)
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        // These threads run the health checks and the admin servers; the HTTP front has threads of
        // its own.
        .worker_threads(2)
        .thread_name("agent")
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

/// Returns an error if there are backends that packets cannot reach. The error is not a
/// [`DraftError`], after which the service manager would not restart the agent: the file is valid,
/// and a route may be added later.
fn refuse_unreachable(draft: &Draft) -> Result<(), Error> {
    let Config { node, services, .. } = &draft.config;
    let unreachable = dataplane::unreachable(&node.interfaces, services)?;
    draft.refuse(unreachable).map_err(Error::Unreachable)
}

async fn start_and_run(file: PathBuf, config: Config, logging: Logging) -> Result<(), Error> {
    let signals = run::Signals::listen().map_err(Error::Runtime)?;
    start_agent(file, &config, Inherited::default(), logging)?
        .run(signals)
        .await
}

fn start_agent(
    file: PathBuf,
    config: &Config,
    mut inherited: Inherited,
    logging: Logging,
) -> Result<run::Agent<Dataplane>, Error> {
    let lock = inherited.lock(&config.dataplane.pin_path);
    let open =
        |node: &config::Node, settings: &config::Dataplane| Dataplane::open(node, settings, lock);
    start::start(file, config, (inherited, logging), open)
}
