//! The messages about obtained certificates that the two agents of a pair exchange.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{OrderRecord, Response};

/// The longest certificate file that is sent or accepted, in bytes.
pub(super) const MOST_FILE_BYTES: usize = 256 << 10;
/// The longest account file that is sent or accepted, in bytes.
pub(super) const MOST_ACCOUNT_BYTES: usize = 64 << 10;

/// A message from one agent to the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum PeerMessage {
    /// The sender's full state. Sent when the link comes up and after each change.
    State(Box<HostState>),
    /// The sender claims the lock to order the certificate of a service.
    Claim {
        /// The service.
        service: String,
        /// Of two claims that cross on the link, the one with the higher number wins.
        number: u64,
    },
    /// The reply to [`Self::Claim`].
    ClaimReply {
        /// The service.
        service: String,
        /// The number of the claim.
        number: u64,
        /// `None`: granted. Otherwise the seconds that the replying host's own order may still take.
        refused: Option<u32>,
    },
    /// Requests the certificate file of a service, provided that it holds the certificate with this
    /// SHA-256.
    FileRequest {
        /// The service.
        service: String,
        /// The SHA-256 of the certificate.
        fingerprint: [u8; 32],
    },
    /// The reply to [`Self::FileRequest`]; `bytes` is `None` if the sender no longer has the certificate.
    File {
        /// The service.
        service: String,
        /// Chain and key.
        bytes: Option<Secret>,
    },
    /// The sender now serves the challenge responses of the [`HostState`] with this serial.
    Serving(u64),
}

/// The full state of a host's obtained certificates, as sent to the peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HostState {
    /// Increases with every state that the host sends.
    pub serial: u64,
    /// The host's name.
    pub node: String,
    /// The URL of the ACME directory.
    pub directory: String,
    /// Whether the host is active.
    pub active: bool,
    /// The account's credentials.
    pub account: Option<Secret>,
    /// The certificates, by service.
    pub certificates: BTreeMap<String, CertificateState>,
    /// The challenge responses that validate the host's orders.
    pub responses: Vec<Response>,
}

/// The state of one certificate on one host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateState {
    /// The certificate in use; `None` if no certificate covers all domains.
    pub certificate: Option<CertificateId>,
    /// The history of the certificate's orders.
    pub record: OrderRecord,
    /// The most seconds that an order in flight, or about to begin, may still take; `None` if there is none.
    pub under_way: Option<u32>,
}

/// Identifies a certificate. The greater one is newer: its validity begins later, or else ends later.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CertificateId {
    /// `notBefore`, in seconds since 1970.
    pub not_before: u64,
    /// `notAfter`, in seconds since 1970.
    pub not_after: u64,
    /// The SHA-256; breaks ties, so that both hosts prefer the same certificate.
    pub fingerprint: [u8; 32],
}

impl CertificateId {
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        super::record::from_unix(self.not_after) <= now
    }
}

/// Bytes that contain a private key; `Debug` prints only their number.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secret(pub(super) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
