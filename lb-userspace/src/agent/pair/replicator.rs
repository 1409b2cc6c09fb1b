//! Replicates flows between the packet path and the link to the peer: exports this host's flows
//! while it is active, and imports the peer's flows otherwise.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::PairCommand;
use crate::{
    dataplane::flows::Flows,
    peer::{self, Bulk},
};

/// How long the task waits before it restarts an export that was interrupted.
const AGAIN: Duration = Duration::from_secs(1);

/// The tasks that export and import flows. Dropping this value ends them.
#[derive(Debug)]
pub(super) struct FlowReplicator {
    /// The session of the link to the peer over which flows are exported; `None` while this host is
    /// not active or the link is down.
    export_over: watch::Sender<Option<Bulk>>,
    _tasks: JoinSet<()>,
}

impl FlowReplicator {
    /// Starts both tasks. They send [`PairCommand::Synced`] when all flows of the peer have been
    /// imported.
    pub(super) fn start(
        background: &Handle,
        flows: Flows,
        arriving: peer::Flows,
        commands: mpsc::WeakUnboundedSender<PairCommand>,
    ) -> Self {
        let (export_over, follow) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let _handle = tasks.spawn_on(export(flows.clone(), follow), background);
        let _handle = tasks.spawn_on(import_from_peer(flows, arriving, commands), background);
        Self {
            export_over,
            _tasks: tasks,
        }
    }

    /// Makes the task export this host's flows over this session of the link to the peer from now
    /// on; `None` ends the export.
    pub(super) fn export_over(&self, bulk: Option<Bulk>) {
        self.export_over.send_if_modified(|current| {
            let session = |bulk: &Option<Bulk>| bulk.as_ref().map(Bulk::session);
            let other = session(current) != session(&bulk);
            if other {
                *current = bulk;
            }
            other
        });
    }
}

async fn export(flows: Flows, mut follow: watch::Receiver<Option<Bulk>>) {
    loop {
        let bulk = follow.borrow_and_update().clone();
        let told = async {
            match bulk {
                Some(bulk) => export_over(&flows, &bulk).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => tokio::time::sleep(AGAIN).await,
            changed = follow.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Exports all flows, and then the changes of flows, until the session of the link to the peer
/// ends.
async fn export_over(flows: &Flows, bulk: &Bulk) {
    let mut chunks = match flows.export() {
        Ok(chunks) => chunks,
        Err(error) => {
            tracing::error!(error = %error, "cannot export flows to the peer");
            return;
        }
    };
    while let Some(chunk) = chunks.recv().await {
        // If sending fails, the session has ended, and the next one sends all flows again.
        if bulk.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn import_from_peer(
    flows: Flows,
    mut arriving: peer::Flows,
    commands: mpsc::WeakUnboundedSender<PairCommand>,
) {
    while let Some(chunk) = arriving.recv().await {
        let (flows, session) = (flows.clone(), chunk.session);
        // The chunk of flows is acknowledged to the peer when it is dropped, which is after the
        // import.
        let imported = tokio::task::spawn_blocking(move || flows.import(&chunk.bytes)).await;
        match imported {
            Ok(Ok(imported)) if imported.complete => {
                let Some(commands) = commands.upgrade() else {
                    return;
                };
                // Sending fails if the pair thread has ended.
                let _gone = commands.send(PairCommand::Synced(session));
            }
            Ok(Ok(_part)) => {}
            Ok(Err(error)) => tracing::error!(error = %error, "cannot import flows of the peer"),
            Err(error) => tracing::error!(error = %error, "cannot import flows of the peer"),
        }
    }
}
