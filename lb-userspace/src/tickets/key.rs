//! One key, and how it is told to the peer.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes of a key's name.
pub(super) const ID_BYTES: usize = 16;
/// Bytes of a key's secret.
pub(super) const SECRET_BYTES: usize = 32;

/// The name of a key: drawn at random, and legible in every ticket made with it.
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

/// What a key is made of. Wiped from memory when it is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Material {
    /// Its name.
    pub id: KeyId,
    pub(super) secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Material {
    /// A key of these random bytes.
    #[must_use]
    pub fn new(id: KeyId, secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            id,
            secret: Zeroizing::new(secret),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({:?})", self.id)
    }
}

/// All keys of a host, as it tells them to its peer. Only ever over the link.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Offer {
    /// The keys.
    pub keys: Vec<OfferedKey>,
    /// The one that issues.
    pub issuer: KeyId,
    /// Whether the host is active, or alone.
    pub active: bool,
}

/// A key as it is told. It has an age and no date: the clocks of two hosts differ.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct OfferedKey {
    /// Its name.
    pub id: KeyId,
    pub(super) secret: [u8; SECRET_BYTES],
    /// Milliseconds since it was made.
    pub age: u64,
}

impl fmt::Debug for OfferedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, age, .. } = self;
        write!(f, "OfferedKey({id:?}, {age} ms old)")
    }
}
