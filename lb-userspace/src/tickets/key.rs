//! A session ticket key, and its form for the peer.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Length of a key's name.
pub(super) const ID_BYTES: usize = 16;
/// Length of a key's secret.
pub(super) const SECRET_BYTES: usize = 32;

/// The name of a key: random, and readable in every ticket made with it.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct KeyId(pub [u8; ID_BYTES]);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key. Its secret is wiped from memory when it is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct TicketKey {
    /// The name.
    pub id: KeyId,
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl TicketKey {
    /// Creates a key of these random bytes.
    #[must_use]
    pub fn new(id: KeyId, secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            id,
            secret: Zeroizing::new(secret),
        }
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKey({:?})", self.id)
    }
}

/// All keys of a host, as sent to the peer; only ever over the link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Offer {
    /// The keys.
    pub keys: Vec<OfferedKey>,
    /// The key that issues.
    pub issuer: KeyId,
    /// Whether the host is active, or has no peer.
    pub active: bool,
}

/// A key as sent to the peer. It has an age instead of a date, because the clocks of two hosts
/// differ.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct OfferedKey {
    /// The name.
    pub id: KeyId,
    pub(super) secret: [u8; SECRET_BYTES],
    /// Milliseconds since the key was created.
    pub age: u64,
}

impl fmt::Debug for OfferedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, age, .. } = self;
        write!(f, "OfferedKey({id:?}, {age} ms old)")
    }
}
