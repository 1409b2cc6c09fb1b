//! A managed certificate: the state that its task and the exchange with the peer share.

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

/// What the configuration says of a managed certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CertificatePlan {
    pub(super) host: Name,
    pub(super) service: Name,
    pub(super) settings: Acme,
    pub(super) obtained: Obtained,
}

/// A certificate that the agent orders and renews.
#[derive(Debug)]
pub(super) struct ManagedCertificate {
    pub(super) plan: CertificatePlan,
    pub(super) inspect: Inspect,
    /// Notified when a message of the peer may have changed what the task of this certificate must
    /// do next: order, claim the order lock, ask the directory, or wait.
    pub(super) changed: Notify,
    store: Store,
    state: Mutex<State>,
}

/// The state of a managed certificate that changes while the agent runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) renewal: Renewal,
    /// The certificate in the certificate file; `None` if the file has no certificate that covers
    /// all configured domains.
    pub(super) certificate: Option<CertificateId>,
    /// The fingerprint of the last certificate of the peer that this host could not use, so that it
    /// is not requested again.
    pub(super) rejected: Option<[u8; 32]>,
    /// The state of this certificate at the peer, as the peer sent it last.
    pub(super) peer_state: Option<CertificateState>,
}

impl ManagedCertificate {
    /// Loads the certificate file and the order record that an earlier agent left on disk. `role`
    /// is this host's role.
    pub(super) fn open(
        plan: CertificatePlan,
        inspect: Inspect,
        role: HostRole,
        now: SystemTime,
    ) -> Self {
        let store = Store::new(plan.settings.folder());
        let service = &plan.service;
        let record = store.record(&plan.obtained.file).unwrap_or_else(|error| {
            tracing::warn!(%service, %error, "the record of earlier orders is lost");
            OrderRecord::default()
        });
        let bytes = fs::read(&plan.obtained.file).ok();
        let found = bytes.and_then(|bytes| usable(&plan, inspect, &bytes).ok());
        if let Some(details) = &found {
            let until = humantime::format_rfc3339_seconds(details.validity.not_after);
            tracing::info!(%service, %until, "loaded the certificate of an earlier order");
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
                rejected: None,
                peer_state: None,
            }),
            plan,
        }
    }

    /// Locks the state. A caller that holds this lock must not call a method of `Exchange`, which
    /// locks the states of certificates itself.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is used as it is: after a panic the state is as before or after a
        // complete change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the certificate's order record to disk.
    pub(super) fn keep_record(&self, state: &State) -> Result<(), StoreError> {
        let record = state.renewal.record();
        self.store.keep_record(&self.plan.obtained.file, record)
    }

    /// Writes the certificate's order record to disk; a failure is only logged.
    pub(super) fn try_to_keep_record(&self, state: &State) {
        if let Err(error) = self.keep_record(state) {
            tracing::warn!(service = %self.plan.service, %error, "cannot write the ACME order record");
        }
    }

    /// Replaces the certificate file, which holds chain and key, by `bytes`.
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

/// Parses a certificate file and checks that it covers all names that the configuration wants
/// (`plan`). The error says why the file cannot be used.
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

/// Returns a number that spreads the renewals of certificates in time: a hash of the names of the
/// host and the service, which is the same at every start of the agent.
fn seed(plan: &CertificatePlan) -> u64 {
    let mut hasher = DefaultHasher::new();
    (plan.host.as_str(), plan.service.as_str()).hash(&mut hasher);
    hasher.finish()
}
