//! Loads certificates that the agent has obtained by ACME into the HTTP front.

use super::Agent;
use crate::{
    acme::{CertificateDetails, Validity},
    agent::kernel::Kernel,
    config::Name,
    proxy,
};

impl<K: Kernel> Agent<K> {
    /// Serves the new certificate of a service from the next TLS handshake on. Connections that
    /// exist continue.
    pub(super) fn load_obtained(&mut self, service: &Name) {
        tracing::info!(%service, "a new certificate was obtained");
        self.reload_tls_files();
    }
}

/// Parses a certificate file in the same way as the HTTP front does.
pub(in crate::agent) fn inspect_obtained(bytes: &[u8]) -> Result<CertificateDetails, String> {
    let found = proxy::inspect_certificate(bytes).map_err(|problem| problem.to_string())?;
    Ok(CertificateDetails {
        names: found.names,
        validity: Validity {
            not_before: found.not_before,
            not_after: found.not_after,
        },
        fingerprint: found.fingerprint,
    })
}
