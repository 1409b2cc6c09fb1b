//! What the agent reads from a certificate file.

use super::{
    peer_message::CertificateId,
    record::{Validity, to_unix},
};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateDetails {
    /// The names that it is for, in lower case.
    pub names: Vec<String>,
    /// From when to when it is valid.
    pub validity: Validity,
    /// Its SHA-256.
    pub fingerprint: [u8; 32],
}

/// Reads a certificate file, chain and key, or says why it could not be served.
pub type Inspect = fn(&[u8]) -> Result<CertificateDetails, String>;

impl CertificateDetails {
    pub(super) fn id(&self) -> CertificateId {
        CertificateId {
            not_before: to_unix(self.validity.not_before),
            not_after: to_unix(self.validity.not_after),
            fingerprint: self.fingerprint,
        }
    }
}
