//! The exchange of the ACME account, which both hosts of a pair use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Exchange, HostRole, HostState};
use crate::acme::{peer_message::MOST_ACCOUNT_BYTES, store::Store};

/// What this host knows of the ACME account, apart from the files on disk.
#[derive(Debug, Default)]
pub(super) struct KnownAccount {
    /// Number of times that the peer's account was installed on this host.
    taken: Arc<AtomicU64>,
    /// The file contents of an account that the directory no longer knows.
    unknown: Option<Vec<u8>>,
}

impl Exchange {
    /// Returns the counter of times that the peer's account was installed on this host.
    pub(in crate::acme) fn accounts_taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state().account.taken)
    }

    /// Records that the directory no longer knows the account on disk, so that the peer's copy of
    /// the account is not installed again.
    pub(in crate::acme) fn forget_account(&self, store: &Store) {
        self.state().account.unknown = read(store);
    }
}

impl KnownAccount {
    /// Installs the peer's account if this host has none, or if this host is the standby and the
    /// active host has another account.
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
                tracing::info!(peer = told.node, "installed the ACME account from the peer");
            }
            Err(error) => {
                tracing::warn!(peer = told.node, %error, "did not install the ACME account from the peer");
            }
        }
    }
}

/// Returns the contents of the account file; `None` if there is no such file, or it cannot be read
/// or is too long to be sent.
pub(super) fn read(store: &Store) -> Option<Vec<u8>> {
    let bytes = store.account_bytes().ok()??;
    (bytes.len() <= MOST_ACCOUNT_BYTES).then_some(bytes)
}
