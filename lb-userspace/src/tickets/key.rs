//! A session ticket key, and the form in which it is sent to the peer.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Length of a session ticket key's name, in bytes.
pub(super) const ID_BYTES: usize = 16;
/// Length of a session ticket key's secret, in bytes.
pub(super) const SECRET_BYTES: usize = 32;

/// The name of a session ticket key: random bytes, which every ticket made with the key contains
/// unencrypted.
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

/// A session ticket key. Its secret is wiped from memory when it is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct TicketKey {
    /// The name of the key.
    pub id: KeyId,
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl TicketKey {
    /// Creates a session ticket key from this name and secret, both of which must be random.
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

/// All session ticket keys of a host, as sent to the peer. They are sent only over the link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Offer {
    /// The session ticket keys that the sending host accepts.
    pub keys: Vec<OfferedKey>,
    /// The name of the key that the sending host issues tickets with.
    pub issuer: KeyId,
    /// Whether the sending host is the active one, or has no peer.
    pub active: bool,
}

/// A session ticket key as sent to the peer. It contains the key's age instead of a date, because
/// the clocks of the two hosts differ.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct OfferedKey {
    /// The name of the key.
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
