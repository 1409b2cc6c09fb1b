//! The details of a certificate file.

use super::{
    peer_message::CertificateId,
    record::{Validity, to_unix},
};

/// The details of a certificate that matter for its renewal.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateDetails {
    /// Its DNS names, in lower case.
    pub names: Vec<String>,
    /// Its validity period.
    pub validity: Validity,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Parses a certificate file, chain and key. The error says why it could not be served.
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
