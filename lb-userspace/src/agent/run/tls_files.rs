//! Reloads TLS files (certificates, client authorities, revocation lists) that have changed,
//! without a reload of the configuration.

use std::path::PathBuf;

use super::Agent;
use crate::{agent::kernel::Kernel, proxy::Proxy};

impl<K: Kernel> Agent<K> {
    /// Handles a change on disk of files with certificates, client authorities or revocation lists.
    pub(super) fn tls_files_changed(&mut self, files: &[PathBuf]) {
        let files: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        tracing::info!(
            files = %files.join(", "), event = "tls_files_changed", "TLS files changed"
        );
        self.reload_tls_files();
    }

    /// Reads the TLS files again and uses their content from the next handshake on. Connections
    /// that exist continue. If a file is invalid, its previous content stays in use.
    pub(super) fn reload_tls_files(&mut self) {
        let reloaded = self.shared.proxy().as_ref().map(Proxy::reload_tls_files);
        let Some(reloaded) = reloaded else {
            return;
        };
        let unusable = reloaded.err().unwrap_or_default();
        for error in &unusable {
            tracing::error!(
                error = %error, event = "tls_file_invalid",
                "invalid TLS file: its previous content stays in use"
            );
        }
        self.shared.write().unusable = unusable.iter().map(ToString::to_string).collect();
        self.send_certificates();
    }
}
