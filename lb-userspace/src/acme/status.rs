//! The published status of obtained certificates, for `lb status` and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::config::Name;

/// The status of an obtained certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertificateStatus {
    /// Orders that produced a certificate, since the agent started.
    pub issued: u64,
    /// Orders that the directory refused or could not validate.
    pub refused: u64,
    /// Orders for which the directory was unreachable or failed.
    pub unreachable: u64,
    /// When the next order begins; `None` if one is in flight.
    pub next_order: Option<SystemTime>,
    /// When the certificate is due for renewal, regardless of failures; the beginning of 1970 if
    /// there is none yet.
    pub due: Option<SystemTime>,
    /// Whether the peer orders: the next order begins after this host has become active.
    pub is_standby: bool,
    /// Why the last order failed; `None` if it did not.
    pub failure: Option<String>,
}

/// The status of each certificate, by service. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StatusRegistry(Arc<Mutex<BTreeMap<Name, CertificateStatus>>>);

impl StatusRegistry {
    /// Returns a snapshot.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Name, CertificateStatus> {
        self.lock().clone()
    }

    /// Changes the status of one certificate.
    pub(super) fn change(&self, service: &Name, change: impl FnOnce(&mut CertificateStatus)) {
        change(self.lock().entry(service.clone()).or_default());
    }

    /// Removes the status of all services that are not in `services`.
    pub(super) fn keep(&self, services: &BTreeSet<&Name>) {
        self.lock().retain(|service, _| services.contains(service));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, CertificateStatus>> {
        // Each change assigns independent fields of one entry: a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
