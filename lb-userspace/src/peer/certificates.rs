//! Certificates of both hosts.

use serde::{Deserialize, Serialize};

/// About certificates.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum CertificateWord {
    /// placeholder
    Want(String),
}
