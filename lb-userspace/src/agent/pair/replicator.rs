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
    tell_by: watch::Sender<Option<Bulk>>,
    _tasks: JoinSet<()>,
}

impl FlowReplicator {
    /// Begins. Says by an order when the other host's flows are all here.
    pub(super) fn start(
        background: &Handle,
        flows: Flows,
        arriving: peer::Flows,
        orders: mpsc::WeakUnboundedSender<PairCommand>,
    ) -> Self {
        let (tell_by, follow) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let _handle = tasks.spawn_on(tell(flows.clone(), follow), background);
        let _handle = tasks.spawn_on(take_in(flows, arriving, orders), background);
        Self {
            tell_by,
            _tasks: tasks,
        }
    }

    /// Tells of this host's flows by this connection from now on, or of none.
    pub(super) fn tell_by(&self, bulk: Option<Bulk>) {
        self.tell_by.send_if_modified(|current| {
            let session = |bulk: &Option<Bulk>| bulk.as_ref().map(Bulk::session);
            let other = session(current) != session(&bulk);
            if other {
                *current = bulk;
            }
            other
        });
    }
}

async fn tell(flows: Flows, mut follow: watch::Receiver<Option<Bulk>>) {
    loop {
        let bulk = follow.borrow_and_update().clone();
        let told = async {
            match bulk {
                Some(bulk) => tell_by(&flows, &bulk).await,
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
async fn tell_by(flows: &Flows, bulk: &Bulk) {
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

async fn take_in(
    flows: Flows,
    mut arriving: peer::Flows,
    orders: mpsc::WeakUnboundedSender<PairCommand>,
) {
    while let Some(chunk) = arriving.recv().await {
        let (flows, session) = (flows.clone(), chunk.session);
        // The chunk counts as taken in when it is dropped: after the import.
        let imported = tokio::task::spawn_blocking(move || flows.import(&chunk.bytes)).await;
        match imported {
            Ok(Ok(imported)) if imported.complete => {
                let Some(orders) = orders.upgrade() else {
                    return;
                };
                // The pair may have ended.
                let _gone = orders.send(PairCommand::Synced(session));
            }
            Ok(Ok(_part)) => {}
            Ok(Err(error)) => tracing::error!("failed to import flows of the peer: {error}"),
            Err(error) => tracing::error!("failed to import flows of the peer: {error}"),
        }
    }
}
