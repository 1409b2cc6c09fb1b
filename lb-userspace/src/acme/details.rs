//! The details of a certificate file that matter for its renewal.

use super::{
    peer_message::CertificateId,
    record::{Validity, to_unix},
};

/// The details of a certificate that matter for its renewal.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateDetails {
    /// The DNS names that the certificate covers, in lower case.
    pub names: Vec<String>,
    /// The certificate's validity period.
    pub validity: Validity,
    /// The SHA-256 of the encoded certificate.
    pub fingerprint: [u8; 32],
}

/// A function that parses the bytes of a certificate file with chain and key. The error says why
/// the front could not serve the certificate.
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
