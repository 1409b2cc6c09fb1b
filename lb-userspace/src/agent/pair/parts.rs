//! The values that the pair thread is started with.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::mpsc};

use super::{Left, PairCommand, PairSnapshots};
use crate::config::{Ha, Node};

/// The values that the pair thread is started with.
pub(super) struct Parts {
    pub(super) node: Node,
    pub(super) ha: Ha,
    /// The state that an earlier process of this host left; `None` without one.
    pub(super) left: Option<Left>,
    /// The snapshots in which the state is published.
    pub(super) snapshots: Arc<PairSnapshots>,
    /// The agent's runtime, for work that may take long.
    pub(super) background: Handle,
    /// Sends commands to the thread itself.
    pub(super) commands: mpsc::WeakUnboundedSender<PairCommand>,
}
