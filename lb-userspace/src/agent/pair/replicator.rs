//! Carries flows between the packet path and the link: out while this host is active, in while the
//! other one is.

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

/// How soon it is tried again to tell of flows.
const AGAIN: Duration = Duration::from_secs(1);

/// The two ways. Dropping it ends them.
#[derive(Debug)]
pub(super) struct FlowReplicator {
    /// The connection to tell by, while this host is active and linked.
    export_over: watch::Sender<Option<Bulk>>,
    _tasks: JoinSet<()>,
}

impl FlowReplicator {
    /// Begins. Says by an order when the other host's flows are all here.
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

    /// Tells of this host's flows by this connection from now on, or of none.
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

/// Tells all, and then what changes, until the connection ends.
async fn export_over(flows: &Flows, bulk: &Bulk) {
    let mut chunks = match flows.export() {
        Ok(chunks) => chunks,
        Err(error) => {
            tracing::error!("the peer does not learn of this host's flows: {error}");
            return;
        }
    };
    while let Some(chunk) = chunks.recv().await {
        // The next session sends the full state.
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
        // The chunk counts as taken in when it is dropped: after the import.
        let imported = tokio::task::spawn_blocking(move || flows.import(&chunk.bytes)).await;
        match imported {
            Ok(Ok(imported)) if imported.complete => {
                let Some(commands) = commands.upgrade() else {
                    return;
                };
                // The pair may have ended.
                let _gone = commands.send(PairCommand::Synced(session));
            }
            Ok(Ok(_part)) => {}
            Ok(Err(error)) => tracing::error!("failed to import flows of the peer: {error}"),
            Err(error) => tracing::error!("failed to import flows of the peer: {error}"),
        }
    }
}
