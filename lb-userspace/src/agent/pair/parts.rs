//! The values that the pair thread needs from the beginning.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::mpsc};

use super::{Left, PairCommand, PairSnapshots};
use crate::config::{Ha, Node};

/// What the pair thread is given when it is started.
pub(super) struct Parts {
    pub(super) node: Node,
    pub(super) ha: Ha,
    /// The state that an earlier process of this host left to this one; `None` if there was no such
    /// process.
    pub(super) left: Option<Left>,
    /// The snapshots in which the pair thread publishes its state.
    pub(super) snapshots: Arc<PairSnapshots>,
    /// The agent's runtime, for work that may take too long for the pair thread.
    pub(super) background: Handle,
    /// A sender of commands to the pair thread, for its own tasks.
    pub(super) commands: mpsc::WeakUnboundedSender<PairCommand>,
}
