//! How adverts are authenticated.

use std::fmt;

use super::Keys;

/// How adverts are authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// No authentication.
    None,
    /// The password of version 2, sent in clear: it guards against mistakes, not against attackers.
    Password(Password),
    /// An HMAC and a time in a trailer: only a holder of the key can make it, and each is accepted
    /// once.
    Hmac(Keys),
}

/// The password of version 2 (RFC 2338, section 5.3.6.2): 1 to 8 bytes, padded with zeros.
#[derive(Clone, Eq, PartialEq)]
pub struct Password([u8; Self::LENGTH]);

impl Password {
    /// Bytes on the wire.
    pub const LENGTH: usize = 8;

    /// Returns `None` if the text is empty, longer than 8 bytes or has a zero byte.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::LENGTH).contains(&text.len()) && !text.contains('\0');
        fits.then(|| {
            let mut padded = [0; Self::LENGTH];
            padded[..text.len()].copy_from_slice(text.as_bytes());
            Self(padded)
        })
    }

    pub(super) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Compares in constant time.
    pub(super) fn is(&self, found: &[u8]) -> bool {
        let differing =
            (self.0.iter().zip(found)).fold(0, |all, (ours, theirs)| all | ours ^ theirs);
        found.len() == Self::LENGTH && differing == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
