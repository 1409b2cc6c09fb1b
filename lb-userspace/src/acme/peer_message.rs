//! The messages about obtained certificates that the two agents of a pair exchange.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{OrderRecord, Response};

/// Size limit in bytes of a certificate file that the hosts send to each other.
pub(super) const MOST_FILE_BYTES: usize = 256 << 10;
/// Size limit in bytes of an ACME account file that the hosts send to each other.
pub(super) const MOST_ACCOUNT_BYTES: usize = 64 << 10;

/// A message about certificates from one agent of the pair to the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum PeerMessage {
    /// The full state of the sender's certificates. It is sent when the link between the two agents
    /// comes up and after each change.
    State(Box<HostState>),
    /// The sender claims the order lock, to order the certificate of a service.
    Claim {
        /// The name of the service.
        service: String,
        /// A random number. If the claims of both hosts cross on the link between their agents, the
        /// claim with the higher number is granted.
        number: u64,
    },
    /// The reply to a [`Self::Claim`].
    ClaimReply {
        /// The name of the service whose order lock was claimed.
        service: String,
        /// The number of the claim of the order lock that is answered.
        number: u64,
        /// `None` if the order lock is granted to the host that claimed it. Otherwise how many
        /// seconds the replying host's own order may still take.
        refused: Option<u32>,
    },
    /// Requests the certificate file of a service, provided that the file holds the certificate
    /// with this fingerprint.
    FileRequest {
        /// The name of the service.
        service: String,
        /// The SHA-256 of the requested certificate.
        fingerprint: [u8; 32],
    },
    /// The reply to a [`Self::FileRequest`].
    File {
        /// The name of the service.
        service: String,
        /// The chain and key as PEM; `None` if the sender no longer has the requested certificate.
        bytes: Option<Secret>,
    },
    /// The sender now serves the challenge responses of the [`HostState`] with this serial number.
    Serving(u64),
}

/// The full state of a host's obtained certificates, as sent to the peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct HostState {
    /// A serial number, which increases with every state that the host sends.
    pub serial: u64,
    /// The name of the host that sends the state.
    pub node: String,
    /// The URL of the ACME directory that the host uses.
    pub directory: String,
    /// Whether the host is the active one.
    pub active: bool,
    /// The credentials of the ACME account; `None` if the host has no account.
    pub account: Option<Secret>,
    /// The states of the host's certificates, by service.
    pub certificates: BTreeMap<String, CertificateState>,
    /// The challenge responses that the host's orders in flight need.
    pub responses: Vec<Response>,
}

/// The state of one certificate on one host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateState {
    /// The certificate in use on the host; `None` if no certificate covers all domains.
    pub certificate: Option<CertificateId>,
    /// The history of the certificate's orders.
    pub record: OrderRecord,
    /// How many seconds the host's order that is in flight, or about to begin, may still take at
    /// most; `None` if there is no such order.
    pub under_way: Option<u32>,
}

/// Identifies a certificate. Of two, the greater one is newer: its validity begins later, or begins
/// at the same time and ends later.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CertificateId {
    /// The beginning of the certificate's validity (`notBefore`), in seconds since 1970.
    pub not_before: u64,
    /// The end of the certificate's validity (`notAfter`), in seconds since 1970.
    pub not_after: u64,
    /// The SHA-256 of the certificate. It decides between certificates with equal times, so that
    /// both hosts prefer the same one.
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
