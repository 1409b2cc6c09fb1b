//! Runs the pair state machine of this host (`lb_ha::pair`), and the rooms that sense and act for it.
//!
//! They have a thread of their own, the pair thread, with its own runtime, so that adverts are sent in
//! time whatever the rest of the agent does. The agent's loop sends it [`PairCommand`]s and carries
//! out its [`Effect`]s.

mod act;
mod flow_sync;
mod left;
mod parts;
mod replicator;
mod settings;
mod snapshot;
mod thread;

use std::{
    sync::{Arc, mpsc::channel},
    thread::JoinHandle,
    time::Duration,
};

use lb_ha::pair::{Reason, Refusal};
use tokio::sync::{mpsc, oneshot};

pub(super) use self::left::{Left, Moving};
#[cfg(test)]
pub(super) use self::snapshot::Clock;
pub(super) use self::snapshot::{Ec2Snapshot, LinkSnapshot, PairSnapshot, PairSnapshots};
use crate::{
    agent::Error,
    config::{Config, Ha},
    dataplane::flows::Flows,
    ha::track::Watched,
    peer::Message,
};

/// A command of the agent's loop to the pair thread.
#[derive(Debug)]
pub(super) enum PairCommand {
    /// Share these flows with the peer from now on.
    Carry(Flows),
    /// Hand over to the peer.
    HandOver(Reason),
    /// No request is in flight on this host.
    Quiet,
    /// Every backend has been checked at least once.
    Checked,
    /// A new configuration is in force.
    Reconfigure(Box<(Ha, Watched)>),
    /// Send a message to the peer.
    Send(Message),
    /// All flows of the peer were imported over the connection of this number.
    Synced(u64),
    /// Leave the pair with a goodbye, and report when it is sent.
    Stop(oneshot::Sender<()>),
    /// Leave the pair without a goodbye, so that another process goes on; report the state for it when
    /// the sockets are closed.
    Leave(oneshot::Sender<Left>),
}

/// An effect that the agent's loop carries out for the pair thread.
#[derive(Debug)]
pub(super) enum Effect {
    /// Put new connections on hold and let requests end, or end the hold.
    Hold(bool),
    /// The outcome of [`PairCommand::HandOver`].
    HandedOver(Result<(), Refusal>),
    /// This host became active, or stopped being active.
    Active(bool),
    /// The link came up, or went down.
    Linked(bool),
    /// A message of the peer arrived.
    Received(Message),
}

/// The bound pair (`None` without `[ha]`), and the receiver of its effects.
pub(super) type Bound = (Option<BoundPair>, mpsc::UnboundedReceiver<Effect>);

/// A pair whose sockets are open but which does not take part yet. Dropping it closes the sockets.
#[derive(Debug)]
pub(super) struct BoundPair {
    pair: Pair,
    start: oneshot::Sender<Start>,
}

/// What the pair needs to take part.
#[derive(Debug)]
struct Start {
    /// The flows to share; `None` if they come later by [`PairCommand::Carry`], or are not shared.
    flows: Option<Flows>,
    watched: Watched,
}

/// A pair that takes part, as the agent holds it.
#[derive(Debug)]
pub(super) struct Pair {
    commands: mpsc::UnboundedSender<PairCommand>,
    snapshots: Arc<PairSnapshots>,
    _thread: JoinHandle<()>,
}

/// Time limit of [`Pair::stop`]: notify commands have ten seconds.
const ENDING: Duration = Duration::from_secs(12);

impl BoundPair {
    /// Takes part from now on: shares `flows` with the peer and tracks what is `watched`.
    pub(super) fn start(self, flows: Option<Flows>, watched: Watched) -> Pair {
        // A thread that has ended is noticed by the end of its effects.
        let _ended = self.start.send(Start { flows, watched });
        self.pair
    }

    /// Returns the snapshots in which the pair publishes its state.
    pub(super) fn snapshots(&self) -> &Arc<PairSnapshots> {
        &self.pair.snapshots
    }
}

impl Pair {
    /// Binds where the configuration has `[ha]`: [`Self::bind`]. The receiver of a host that is alone never
    /// has an effect.
    pub(super) fn bind_where_configured(
        config: &Config,
        left: Option<Left>,
        snapshots: Arc<PairSnapshots>,
    ) -> Result<Bound, Error> {
        match &config.ha {
            Some(ha) => {
                let (bound, effects) = Self::bind(config, ha, left, snapshots)?;
                Ok((Some(bound), effects))
            }
            None => Ok((None, mpsc::unbounded_channel().1)),
        }
    }

    /// Opens the sockets and workers of the pair, on a thread of their own. Once started, it goes on
    /// where another process of this host has `left` it. It publishes its state to `snapshots`; effects
    /// come out of the receiver.
    ///
    /// # Errors
    /// The socket or worker that cannot be opened.
    pub(super) fn bind(
        config: &Config,
        ha: &Ha,
        left: Option<Left>,
        snapshots: Arc<PairSnapshots>,
    ) -> Result<(BoundPair, mpsc::UnboundedReceiver<Effect>), Error> {
        let (commands, received) = mpsc::unbounded_channel();
        let (effects, effected) = mpsc::unbounded_channel();
        let (bound, outcome) = channel();
        let (start, started) = oneshot::channel();
        let parts = parts::Parts {
            node: config.node.clone(),
            ha: ha.clone(),
            left,
            snapshots: Arc::clone(&snapshots),
            commands: commands.downgrade(),
            // Calls of the EC2 API would delay adverts on the pair thread.
            background: tokio::runtime::Handle::current(),
        };
        let thread = std::thread::Builder::new()
            .name("pair".to_owned())
            .spawn(move || thread::run(parts, (received, effects), &bound, started))
            .map_err(Error::Runtime)?;
        outcome.recv().map_err(|_gone| Error::PairEnded)??;
        let pair = Self {
            commands,
            snapshots,
            _thread: thread,
        };
        Ok((BoundPair { pair, start }, effected))
    }

    /// Sends a command, which is discarded if the pair thread has ended.
    pub(super) fn send(&self, command: PairCommand) {
        let _ended = self.commands.send(command);
    }

    /// Returns a function that leaves the pair to another process and returns the state for it, or `None`
    /// if the pair thread has ended. It blocks the calling thread.
    pub(super) fn leaver(&self) -> impl FnOnce() -> Option<Left> + Send + use<> {
        let commands = self.commands.clone();
        move || {
            let (done, left) = oneshot::channel();
            commands.send(PairCommand::Leave(done)).ok()?;
            left.blocking_recv().ok()
        }
    }

    /// Leaves the pair with a goodbye, and waits until it is sent.
    pub(super) async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        self.send(PairCommand::Stop(done));
        if tokio::time::timeout(ENDING, wait).await.is_err() {
            tracing::error!(timeout = ?ENDING, "the pair thread did not end in time");
        }
    }
}
