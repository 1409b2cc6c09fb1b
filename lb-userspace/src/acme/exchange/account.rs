//! The account at the directory, which both hosts use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Exchange, HostRole, HostState};
use crate::acme::{peer_message::MOST_ACCOUNT_BYTES, store::Store};

/// What is known of the account.
#[derive(Debug, Default)]
pub(super) struct KnownAccount {
    /// Counts how many times that of the peer was taken.
    taken: Arc<AtomicU64>,
    /// An account that the directory does not know any more.
    unknown: Option<Vec<u8>>,
}

impl Exchange {
    /// Counts how many times the account on disk became another one.
    pub(in crate::acme) fn accounts_taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state().account.taken)
    }

    /// The directory does not know the account that is on disk: that of the peer, if it is the same,
    /// is not taken.
    pub(in crate::acme) fn forget_account(&self, store: &Store) {
        self.state().account.unknown = read(store);
    }
}

impl KnownAccount {
    /// Takes the account of the peer where there is none here, and on the standby that of the active
    /// host.
    pub(super) fn apply(&mut self, store: &Store, role: HostRole, told: &HostState) {
        let Some(theirs) = &told.account else {
            return;
        };
        let theirs = theirs.0.as_slice();
        let ours = read(store);
        let is_wanted = match &ours {
            None => self.unknown.as_deref() != Some(theirs),
            Some(ours) => ours != theirs && role == HostRole::Standby && told.active,
        };
        if !is_wanted || theirs.len() > MOST_ACCOUNT_BYTES {
            return;
        }
        match store.take_account(theirs) {
            Ok(()) => {
                self.taken.fetch_add(1, Relaxed);
                tracing::info!("installed the ACME account from {}", told.node);
            }
            Err(error) => {
                tracing::warn!(
                    "did not take the ACME account over from {}: {error}",
                    told.node
                );
            }
        }
    }
}

/// The account's file; `None`: there is none that could be given.
pub(super) fn read(store: &Store) -> Option<Vec<u8>> {
    let bytes = store.account_bytes().ok()??;
    (bytes.len() <= MOST_ACCOUNT_BYTES).then_some(bytes)
}
