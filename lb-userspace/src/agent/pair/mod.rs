//! The pair: runs this host's decisions (`lb_ha::pair`), and the rooms that see and act for them.
//!
//! All of it has a thread and a runtime of its own: adverts go out in time whatever the rest of the
//! agent does. The rest gives it [`PairCommand`]s and takes its [`Effect`]s.

mod act;
mod left;
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

/// What the agent tells the pair.
#[derive(Debug)]
pub(super) enum PairCommand {
    /// Share these flows with the other host from now on.
    Carry(Flows),
    /// Hand over to the other host.
    HandOver(Reason),
    /// No request is under way here.
    Quiet,
    /// Every backend was checked once.
    Checked,
    /// A new configuration is in force.
    Reconfigure(Box<(Ha, Watched)>),
    /// Tell the other agent.
    Send(Message),
    /// The flows of the other host are all here; they came by the link of this number.
    Synced(u64),
    /// Say goodbye, and tell when that is done.
    Stop(oneshot::Sender<()>),
    /// End without a word, so that another process goes on; tell what it is left when the sockets are
    /// closed.
    Leave(oneshot::Sender<Left>),
}

/// What the pair wants of the agent.
#[derive(Debug)]
pub(super) enum Effect {
    /// Begin no new connection and let requests end, or serve again.
    Hold(bool),
    /// What came of [`PairCommand::HandOver`].
    HandedOver(Result<(), Refusal>),
    /// The host became active, or is not any more.
    Active(bool),
    /// The link stands, or is gone.
    Linked(bool),
    /// The other agent says this.
    Received(Message),
}

/// A pair whose sockets are open, and which takes no part yet. Dropping it closes them.
#[derive(Debug)]
pub(super) struct BoundPair {
    pair: Pair,
    start: oneshot::Sender<Start>,
}

/// What the pair needs to take part.
#[derive(Debug)]
struct Start {
    /// `None`: they come by [`PairCommand::Carry`], or flows are not shared.
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

/// The longest time that the end may take: notify commands have ten seconds.
const ENDING: Duration = Duration::from_secs(12);

impl BoundPair {
    /// Takes part from now on: shares `flows` with the peer and tracks what is `watched`.
    pub(super) fn start(self, flows: Option<Flows>, watched: Watched) -> Pair {
        // A thread that has ended is noticed by the end of its effects.
        let _ended = self.start.send(Start { flows, watched });
        self.pair
    }

    /// Where the pair publishes its state.
    pub(super) fn snapshots(&self) -> &Arc<PairSnapshots> {
        &self.pair.snapshots
    }
}

impl Pair {
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
        let parts = thread::Parts {
            node: config.node.clone(),
            ha: ha.clone(),
            left,
            snapshots: Arc::clone(&snapshots),
            commands: commands.downgrade(),
            // Calls of the EC2 API take long and do much: not on the thread of the adverts.
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

    /// Gives an order. One that comes after the end has nobody to follow it.
    pub(super) fn send(&self, command: PairCommand) {
        let _ended = self.commands.send(command);
    }

    /// What has this host's part in the pair left to another process; `None`: it had ended already.
    /// Blocks the calling thread.
    pub(super) fn leaver(&self) -> impl FnOnce() -> Option<Left> + Send + use<> {
        let commands = self.commands.clone();
        move || {
            let (done, left) = oneshot::channel();
            commands.send(PairCommand::Leave(done)).ok()?;
            left.blocking_recv().ok()
        }
    }

    /// Says goodbye, and waits until it is said.
    pub(super) async fn stop(&self) {
        let (done, wait) = oneshot::channel();
        self.send(PairCommand::Stop(done));
        if tokio::time::timeout(ENDING, wait).await.is_err() {
            tracing::error!("the pair did not end within {ENDING:?}");
        }
    }
}
