//! How adverts are authenticated.

use std::fmt;

use super::Keys;

/// How adverts are authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Adverts are not authenticated.
    None,
    /// Each advert carries the password of version 2 in clear: it guards against mistakes, not
    /// against attackers.
    Password(Password),
    /// Each advert has a trailer with an HMAC and a time: only a holder of the key can make the
    /// trailer, and each trailer is accepted once.
    Hmac(Keys),
}

/// The password of VRRP version 2 (RFC 2338, section 5.3.6.2): 1 to 8 bytes, padded with zeros.
#[derive(Clone, Eq, PartialEq)]
pub struct Password([u8; Self::LENGTH]);

impl Password {
    /// Length of the password in an advert, in bytes.
    pub const LENGTH: usize = 8;

    /// Creates the password from its text; `None` if the text is empty, longer than 8 bytes or has
    /// a zero byte.
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

    /// Whether the bytes of an advert are this password. Compares them in constant time.
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
