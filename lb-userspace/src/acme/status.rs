//! The published status of the certificates that the agent obtains, for `lb status` and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::config::Name;

/// The status of a certificate that the agent obtains.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertificateStatus {
    /// Number of orders that produced a certificate, since the agent started.
    pub issued: u64,
    /// Number of orders that the directory refused, or whose names it could not validate.
    pub refused: u64,
    /// Number of orders that failed because the directory was unreachable or failed itself.
    pub unreachable: u64,
    /// When the next order begins; `None` while an order is in flight.
    pub next_order: Option<SystemTime>,
    /// When the certificate is due for renewal, regardless of failed orders; the beginning of 1970
    /// if there is no certificate yet.
    pub due: Option<SystemTime>,
    /// Whether this host is the standby, so that only the peer orders. The next order of this host
    /// begins after it has become active.
    pub is_standby: bool,
    /// Why the last order failed; `None` if it succeeded.
    pub failure: Option<String>,
}

/// The status of each managed certificate, by service. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StatusRegistry(Arc<Mutex<BTreeMap<Name, CertificateStatus>>>);

impl StatusRegistry {
    /// Returns a copy of the present status of all certificates.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Name, CertificateStatus> {
        self.lock().clone()
    }

    /// Changes the status of the certificate of one service.
    pub(super) fn change(&self, service: &Name, change: impl FnOnce(&mut CertificateStatus)) {
        change(self.lock().entry(service.clone()).or_default());
    }

    /// Removes the status of the certificates of all services that are not in `services`.
    pub(super) fn keep(&self, services: &BTreeSet<&Name>) {
        self.lock().retain(|service, _| services.contains(service));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, CertificateStatus>> {
        // A poisoned lock is used as it is: each change assigns independent fields of one status,
        // so the statuses are consistent even if a thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
