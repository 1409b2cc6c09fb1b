//! What is known of one certificate, shared by its task and the exchange with the peer.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::Notify;

use super::{
    OrderRecord, Renewal,
    details::{CertificateDetails, Inspect},
    order_lock::HostRole,
    peer_message::{CertificateId, CertificateState},
    store::{self, Store, StoreError},
};
use crate::config::{Acme, Name, Obtained};

/// A certificate to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CertificatePlan {
    pub(super) host: Name,
    pub(super) service: Name,
    pub(super) settings: Acme,
    pub(super) obtained: Obtained,
}

/// One certificate.
#[derive(Debug)]
pub(super) struct ManagedCertificate {
    pub(super) plan: CertificatePlan,
    pub(super) inspect: Inspect,
    /// The peer has said something that may change what is due.
    pub(super) changed: Notify,
    store: Store,
    state: Mutex<State>,
}

/// What changes of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) renewal: Renewal,
    /// The certificate in the file; `None`: there is none for all the domains.
    pub(super) certificate: Option<CertificateId>,
    /// A certificate of the peer that is of no use here.
    pub(super) unfit: Option<[u8; 32]>,
    /// What the peer told last.
    pub(super) heard: Option<CertificateState>,
}

impl ManagedCertificate {
    /// What an earlier agent left. `part`: that of the host.
    pub(super) fn open(
        plan: CertificatePlan,
        inspect: Inspect,
        role: HostRole,
        now: SystemTime,
    ) -> Self {
        let store = Store::new(plan.settings.folder());
        let service = &plan.service;
        let record = store.record(&plan.obtained.file).unwrap_or_else(|error| {
            tracing::warn!(%service, "when certificates were ordered is forgotten: {error}");
            OrderRecord::default()
        });
        let bytes = fs::read(&plan.obtained.file).ok();
        let found = bytes.and_then(|bytes| usable(&plan, inspect, &bytes).ok());
        if let Some(details) = &found {
            let until = humantime::format_rfc3339_seconds(details.validity.not_after);
            tracing::info!(%service, %until, "certificate from an earlier order");
        }
        let validity = found.as_ref().map(|details| details.validity);
        let renewal = Renewal::new(seed(&plan), validity, record).in_pair(role, now);
        Self {
            inspect,
            changed: Notify::new(),
            store,
            state: Mutex::new(State {
                renewal,
                certificate: found.as_ref().map(CertificateDetails::id),
                unfit: None,
                heard: None,
            }),
            plan,
        }
    }

    /// What is known now. Whoever holds it asks nothing of the exchange.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // What a task that panicked left is what was known before it, or behind it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the record to disk, while `state` is held.
    pub(super) fn keep_record(&self, state: &State) -> Result<(), StoreError> {
        let record = state.renewal.record();
        self.store.keep_record(&self.plan.obtained.file, record)
    }

    /// The same, where a record that is not kept costs no more than what it says.
    pub(super) fn try_to_keep_record(&self, state: &State) {
        if let Err(error) = self.keep_record(state) {
            tracing::warn!(service = %self.plan.service, "{error}");
        }
    }

    /// Puts a certificate file, chain and key, in place of the one that is there.
    pub(super) fn install(
        &self,
        state: &mut State,
        bytes: &[u8],
        details: &CertificateDetails,
    ) -> Result<(), StoreError> {
        store::write(&self.plan.obtained.file, bytes)?;
        state.certificate = Some(details.id());
        Ok(())
    }
}

/// Reads a certificate file that is for all the names of the plan, or says why it is of no use.
pub(super) fn usable(
    plan: &CertificatePlan,
    inspect: Inspect,
    bytes: &[u8],
) -> Result<CertificateDetails, String> {
    let details = inspect(bytes)?;
    let missing = plan
        .obtained
        .domains
        .iter()
        .find(|domain| !details.names.contains(domain));
    match missing {
        Some(domain) => Err(format!("it is not for {domain}")),
        None => Ok(details),
    }
}

/// The same for this host and service at every start.
fn seed(plan: &CertificatePlan) -> u64 {
    let mut hasher = DefaultHasher::new();
    (plan.host.as_str(), plan.service.as_str()).hash(&mut hasher);
    hasher.finish()
}
