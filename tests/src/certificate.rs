//! Certificates of the lab, from an authority that the client trusts.
//!
//! The lab is the set of network namespaces that the end-to-end tests make: one for each host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// How long a certificate is valid: 90 days, as Let's Encrypt's certificates were for most of its
/// history.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The certificate authority of the lab, the test network.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM format.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate chain, which consists of this certificate alone.
    pub chain: String,
    /// The private key (P-256) in PKCS #8 format.
    pub key: String,
}

impl Certificate {
    /// Returns chain and key in one text, as HAProxy and `lb` expect them.
    #[must_use]
    pub fn pem(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

impl Authority {
    /// Creates an authority with a new key.
    ///
    /// # Errors
    /// When no key can be generated.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Authority of the lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Returns the authority's own certificate, which clients trust, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for a name, valid for 90 days, with a new P-256 key.
    ///
    /// # Errors
    /// When `name` is not a DNS name.
    pub fn certify(&self, name: &str) -> Result<Certificate> {
        self.certify_for(name, LIFETIME)
    }

    /// Issues a certificate as [`Authority::certify`] does, which expires after `lifetime`.
    ///
    /// # Errors
    /// As [`Authority::certify`].
    pub fn certify_for(&self, name: &str, lifetime: Duration) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH)?;
        // The certificate is valid from an hour ago, to tolerate clocks that differ slightly.
        params.not_before = now - Duration::from_secs(3600);
        params.not_after = now + lifetime;
        Ok(Certificate {
            chain: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}
