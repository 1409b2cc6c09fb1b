//! What the hosts of a pair say to each other about the certificates that are obtained.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{Record, Response};

/// The longest certificate file that is given or taken, in bytes.
pub(super) const MOST_FILE_BYTES: usize = 256 << 10;
/// The longest account file.
pub(super) const MOST_ACCOUNT_BYTES: usize = 64 << 10;

/// What one host says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Word {
    /// All that it knows: when the link comes up, and whenever something changes.
    Told(Box<Told>),
    /// It wants to begin an order for the certificate of a service.
    Claim {
        /// The service.
        service: String,
        /// Of two claims that cross each other, the higher number holds.
        number: u64,
    },
    /// The answer to a claim.
    Claimed {
        /// The service.
        service: String,
        /// The number of the claim.
        number: u64,
        /// `None`: granted. Otherwise, for how many seconds an order of this host may last.
        refused: Option<u32>,
    },
    /// It wants the certificate file of a service, if that still holds the certificate with this
    /// SHA-256.
    Want {
        /// The service.
        service: String,
        /// The SHA-256 of the certificate.
        fingerprint: [u8; 32],
    },
    /// The certificate file of a service; `None`: there is no such any more.
    File {
        /// The service.
        service: String,
        /// Chain and key.
        bytes: Option<Secret>,
    },
    /// The answers of [`Told`] of that serial are served here.
    Serves(u64),
}

/// All that a host knows of the certificates that it obtains.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Told {
    /// Counts what this host has told.
    pub serial: u64,
    /// The host's name.
    pub node: String,
    /// The directory's URL.
    pub directory: String,
    /// Whether the host is active.
    pub active: bool,
    /// The account's credentials.
    pub account: Option<Secret>,
    /// The certificates, by service.
    pub certificates: BTreeMap<String, ToldCertificate>,
    /// What is to be answered while its orders are validated.
    pub responses: Vec<Response>,
}

/// What a host knows of one certificate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ToldCertificate {
    /// The certificate in use; `None`: there is none for all the domains.
    pub certificate: Option<CertificateId>,
    /// What is kept of its orders.
    pub record: Record,
    /// An order is under way, or about to begin: for how many seconds at most.
    pub under_way: Option<u32>,
}

/// Which certificate it is. The greater one is newer: it begins later, else it ends later.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CertificateId {
    /// Its `notBefore`, in seconds since 1970.
    pub not_before: u64,
    /// Its `notAfter`, in seconds since 1970.
    pub not_after: u64,
    /// Its SHA-256, so that two hosts choose the same of two.
    pub fingerprint: [u8; 32],
}

impl CertificateId {
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        super::record::from_unix(self.not_after) <= now
    }
}

/// Bytes with a private key among them: they are never shown.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secret(pub(super) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
