//! What is known of the certificates, for status and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::config::Name;

/// What is known of an obtained certificate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CertificateStatus {
    /// Orders that ended with a certificate, since the agent started.
    pub issued: u64,
    /// Orders that the directory refused, or could not validate.
    pub refused: u64,
    /// Orders for which the directory was not reached, or did not work.
    pub unreachable: u64,
    /// When the next order begins; `None`: one is under way.
    pub next_order: Option<SystemTime>,
    /// When the certificate is due to be renewed, whatever failed since; the beginning of 1970 where
    /// there is none yet.
    pub due: Option<SystemTime>,
    /// The other host of the pair orders: the next order begins when this one has become active.
    pub is_standby: bool,
    /// Why the last order failed; `None`: it did not.
    pub failure: Option<String>,
}

/// What is known of each certificate, by its service. All clones are one board.
#[derive(Clone, Debug, Default)]
pub struct StatusRegistry(Arc<Mutex<BTreeMap<Name, CertificateStatus>>>);

impl StatusRegistry {
    /// What is known at this moment.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Name, CertificateStatus> {
        self.lock().clone()
    }

    /// Changes what is known of one certificate.
    pub(super) fn change(&self, service: &Name, change: impl FnOnce(&mut CertificateStatus)) {
        change(self.lock().entry(service.clone()).or_default());
    }

    /// Forgets every certificate but those.
    pub(super) fn keep(&self, services: &BTreeSet<&Name>) {
        self.lock().retain(|service, _| services.contains(service));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, CertificateStatus>> {
        // Each change is an assignment or two of one entry, of which none leans on another.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
