//! Runs the pair state machine of this host (`lb_ha::pair`), and the modules that provide its
//! inputs and carry out its actions.
//!
//! They run on a separate thread, the pair thread, with its own tokio runtime, so that adverts are
//! sent in time whatever the rest of the agent does. The agent's loop sends [`PairCommand`]s to the
//! pair thread and carries out the [`Effect`]s that it orders.

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

/// A command that the agent's loop sends to the pair thread.
#[derive(Debug)]
pub(super) enum PairCommand {
    /// Share the flows of this connection table with the peer from now on.
    Carry(Flows),
    /// Hand the active role over to the peer, for this reason.
    HandOver(Reason),
    /// No request is in flight on this host any more, so a hand-over of the active role to the peer
    /// can continue.
    Quiet,
    /// Every backend has been checked at least once since the agent started.
    Checked,
    /// A new configuration is in force, of which these are the parts for the pair.
    Reconfigure(Box<(Ha, Watched)>),
    /// Send this message over the link to the peer.
    Send(Message),
    /// All flows of the peer were imported over the session of this number of the link between the
    /// two agents.
    Synced(u64),
    /// Leave the pair with a goodbye, and report when it has been sent.
    Stop(oneshot::Sender<()>),
    /// Leave the pair without a goodbye, so that another process of this host can take over; report
    /// the state for that process when the sockets are closed.
    Leave(oneshot::Sender<Left>),
}

/// An effect that the pair thread orders and the agent's loop carries out.
#[derive(Debug)]
pub(super) enum Effect {
    /// Put new connections on hold and let requests end (true), or end the hold (false).
    Hold(bool),
    /// Take note of the outcome of [`PairCommand::HandOver`].
    HandedOver(Result<(), Refusal>),
    /// Take note that this host became active (true), or is no longer active (false).
    Active(bool),
    /// Take note that the link to the peer came up (true), or went down (false).
    Linked(bool),
    /// Handle this message of the peer.
    Received(Message),
}

/// A pair whose sockets are open, which is `None` if the configuration has no `[ha]`, and the
/// receiver of the effects that it orders.
pub(super) type Bound = (Option<BoundPair>, mpsc::UnboundedReceiver<Effect>);

/// A pair thread whose sockets are open but which does not take part in the pair yet. Dropping it
/// closes the sockets.
#[derive(Debug)]
pub(super) struct BoundPair {
    pair: Pair,
    start: oneshot::Sender<Start>,
}

/// What the pair thread needs in order to take part in the pair.
#[derive(Debug)]
struct Start {
    /// The flows to share with the peer; `None` if they come later by [`PairCommand::Carry`], or
    /// are not shared.
    flows: Option<Flows>,
    watched: Watched,
}

/// The agent's handle of a pair thread that takes part in the pair.
#[derive(Debug)]
pub(super) struct Pair {
    commands: mpsc::UnboundedSender<PairCommand>,
    snapshots: Arc<PairSnapshots>,
    _thread: JoinHandle<()>,
}

/// Time limit of [`Pair::stop`]. It is longer than the ten seconds that notify commands have to
/// end.
const ENDING: Duration = Duration::from_secs(12);

impl BoundPair {
    /// Makes the pair thread take part in the pair: it shares `flows` with the peer, and watches
    /// the health of the objects in `watched`, such as interfaces, listeners and scripts.
    pub(super) fn start(self, flows: Option<Flows>, watched: Watched) -> Pair {
        // Sending fails if the pair thread has ended, which the agent notices because the channel
        // of the thread's effects is closed.
        let _ended = self.start.send(Start { flows, watched });
        self.pair
    }

    /// Returns the snapshots in which the pair publishes its state.
    pub(super) fn snapshots(&self) -> &Arc<PairSnapshots> {
        &self.pair.snapshots
    }
}

impl Pair {
    /// Calls [`Self::bind`] if the configuration has `[ha]`. On a host without a peer, the receiver
    /// of effects never yields one.
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

    /// Opens the sockets and workers of the pair, on the new pair thread. When it is started, this
    /// thread continues from the state `left` of an earlier process of this host. It publishes its
    /// state to `snapshots`; the receiver yields its effects.
    ///
    /// # Errors
    /// A socket or worker of the pair cannot be opened.
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
            // Calls to the EC2 API run on this runtime, because they would delay adverts on the
            // pair thread.
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

    /// Returns the handle of a pair without a pair thread, and the receiver of the commands that are
    /// sent to it.
    #[cfg(test)]
    pub(super) fn recording() -> (Self, mpsc::UnboundedReceiver<PairCommand>) {
        let (commands, received) = mpsc::unbounded_channel();
        let pair = Self {
            commands,
            snapshots: Arc::default(),
            _thread: std::thread::spawn(|| {}),
        };
        (pair, received)
    }

    /// Sends a command, which is discarded if the pair thread has ended.
    pub(super) fn send(&self, command: PairCommand) {
        let _ended = self.commands.send(command);
    }

    /// Returns a function that makes this process leave the pair to another process, and returns
    /// the state for that process, or `None` if the pair thread has ended. The function blocks the
    /// calling thread.
    pub(super) fn leaver(&self) -> impl FnOnce() -> Option<Left> + Send + use<> {
        let commands = self.commands.clone();
        move || {
            let (done, left) = oneshot::channel();
            commands.send(PairCommand::Leave(done)).ok()?;
            left.blocking_recv().ok()
        }
    }

    /// Makes this host leave the pair with a goodbye, and waits until the goodbye has been sent.
    pub(super) async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        self.send(PairCommand::Stop(done));
        if tokio::time::timeout(ENDING, wait).await.is_err() {
            tracing::error!(timeout = ?ENDING, "the pair thread did not end in time");
        }
    }
}
