//! Encrypts and decrypts session tickets: a ticket is a TLS session that a client stores and only
//! the hosts of the pair can read.
//!
//! A ticket consists of the key's name (16 bytes), a salt (16 bytes), the encrypted session and the
//! authentication tag (16 bytes). Each ticket is encrypted by AES-256-GCM with a separate key and
//! nonce, which HKDF-SHA256 (RFC 5869) derives from the key's secret, the service's name and the
//! salt. So the number of tickets per key is not limited, both hosts may issue tickets with the
//! same key at the same time, and a ticket of one service cannot be opened by another service.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
    rand,
};
use rustls::server::ProducesTickets;

use super::{
    key::{ID_BYTES, KeyId},
    rotation::{LIFETIME, Rotation},
};
use crate::config::Name;

const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Size limit of session tickets in bytes. Tickets of sessions without a client certificate are
/// shorter.
const MOST_BYTES: usize = 2048;
/// The beginning of the input of the key derivation. It separates tickets from other uses of the
/// same secret, which would derive other keys.
const PURPOSE: &[u8] = b"lb session ticket 1";

/// The keys whose tickets are accepted; tickets are issued with the first of them.
pub(super) struct Keyring(Vec<(KeyId, Prk)>);

impl Keyring {
    pub(super) fn of(rotation: &Rotation) -> Self {
        let keys = rotation.keys();
        let keys = keys.map(|key| (key.id, Prk::new_less_safe(HKDF_SHA256, &*key.secret)));
        Self(keys.collect())
    }

    fn find(&self, id: &[u8; ID_BYTES]) -> Option<&Prk> {
        // The key's name is public, so the comparison need not take constant time.
        self.0
            .iter()
            .find(|(key, _)| key.0 == *id)
            .map(|(_, key)| key)
    }
}

/// Encrypts and decrypts the session tickets of one service.
pub(super) struct Ticketer {
    service: Name,
    ring: Arc<ArcSwap<Keyring>>,
}

impl Ticketer {
    pub(super) fn new(service: &Name, ring: Arc<ArcSwap<Keyring>>) -> Self {
        let service = service.clone();
        Self { service, ring }
    }

    /// Derives the encryption key and the nonce of the ticket that has this salt.
    fn derive(&self, key: &Prk, salt: &[u8; SALT_BYTES]) -> Option<(LessSafeKey, Nonce)> {
        // The salt has a fixed length and comes last, so no two different pairs of service name and
        // salt give the same input.
        let info = [PURPOSE, self.service.as_str().as_bytes(), salt];
        let mut derived = [0; KEY_BYTES + NONCE_LEN];
        key.expand(&info, Derived).ok()?.fill(&mut derived).ok()?;
        let (key, nonce) = derived.split_first_chunk::<KEY_BYTES>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some((LessSafeKey::new(key), nonce))
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.ring.load();
        let (id, key) = ring.0.first()?;
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).ok()?;
        let (key, nonce) = self.derive(key, &salt)?;
        let mut ticket = Vec::with_capacity(ID_BYTES + SALT_BYTES + plain.len() + TAG_BYTES);
        ticket.extend_from_slice(&id.0);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[ID_BYTES + SALT_BYTES..];
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&id.0), sealed);
        ticket.extend_from_slice(tag.ok()?.as_ref());
        (ticket.len() <= MOST_BYTES).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MOST_BYTES {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID_BYTES>()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_BYTES>()?;
        let ring = self.ring.load();
        let (key, nonce) = self.derive(ring.find(id)?, salt)?;
        let mut plain = sealed.to_vec();
        // `open_in_place` checks the ticket's authentication tag, in constant time.
        let length = key
            .open_in_place(nonce, Aad::from(id), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticketer({})", self.service)
    }
}

/// The number of bytes that HKDF must derive for a ticket: an AES key and a nonce.
#[derive(Clone, Copy)]
struct Derived;

impl KeyType for Derived {
    fn len(&self) -> usize {
        KEY_BYTES + NONCE_LEN
    }
}
