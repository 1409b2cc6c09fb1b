//! Sticky sessions: the cookie of `[pool.sticky]`.
//!
//! A cookie's value is a MAC (HMAC-SHA256, RFC 2104) of the pool's name and the backend's address:
//! without the key it can neither be forged nor show the address. Every worker and both hosts of a
//! pair compute the same values. A request's cookie is compared with the precomputed values of the
//! pool's backends, so that a request needs no MAC.

use std::{cell::Cell, path::Path, rc::Rc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    error::{Error, SessionKeyProblem},
    message::find_cookie,
    routing::Fields,
};
use crate::{
    config::{Pool, Service, Sticky},
    private_file::{self, PrivateFileError},
};

/// Minimum length of a key file in bytes, not counting white space at its ends.
const LEAST_KEY_BYTES: usize = 16;
const MOST_KEY_BYTES: u64 = 4096;
/// Begins the input of the MAC: another use of the same key must begin with another text.
const PURPOSE: &[u8] = b"lb sticky session 1";

/// The key of session cookies.
#[derive(Debug)]
pub(super) struct SessionKey(hmac::Key);

impl SessionKey {
    /// Reads a key file. White space at its ends is not part of the key.
    ///
    /// # Errors
    /// The file does not exist, is not private, or is too short.
    fn read(path: &Path) -> Result<Self, SessionKeyProblem> {
        let text = private_file::read(path, MOST_KEY_BYTES).map_err(|error| match error {
            PrivateFileError::Missing => SessionKeyProblem::Missing,
            error => SessionKeyProblem::File(error),
        })?;
        let key = text.trim_ascii();
        if key.len() < LEAST_KEY_BYTES {
            return Err(SessionKeyProblem::Short(key.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Reads the key of a pool; `None` if the pool has no sticky sessions.
    ///
    /// # Errors
    /// The key cannot be used.
    pub(super) fn of(pool: &Pool) -> Result<Option<Self>, Error> {
        let Some(sticky) = &pool.per_request.sticky else {
            return Ok(None);
        };
        let key = Self::read(&sticky.key_file);
        key.map(Some).map_err(|problem| Error::SessionKey {
            pool: pool.name.clone(),
            path: sticky.key_file.clone(),
            problem,
        })
    }

    fn token(&self, pool: &Pool, backend: usize) -> Token {
        let address = pool.backends[backend].address.to_string();
        let parts = [PURPOSE, pool.name.as_str().as_bytes(), address.as_bytes()];
        let tag = hmac::sign(&self.0, &parts.join(&0));
        let mut token = Token::default();
        let half = tag.as_ref().iter();
        token
            .iter_mut()
            .zip(half)
            .for_each(|(to, from)| *to = *from);
        token
    }
}

/// Returns every problem with the session keys of a service's pools.
#[must_use]
pub fn check_session_keys(service: &Service) -> Vec<Error> {
    let pools = service.pools().into_iter();
    pools
        .filter_map(|pool| SessionKey::of(pool).err())
        .collect()
}

/// The identifier of a backend in cookies: the first half of the MAC.
type Token = [u8; 16];

/// The sticky sessions of a pool.
#[derive(Debug)]
pub(super) struct StickySessions {
    sticky: Sticky,
    /// The token of each backend.
    tokens: Vec<Token>,
}

impl StickySessions {
    /// Creates the sessions of a pool if it has any.
    pub(super) fn new(pool: &Pool, key: Option<&SessionKey>) -> Option<Rc<Self>> {
        let (sticky, key) = (pool.per_request.sticky.clone()?, key?);
        let backends = 0..pool.backends.len();
        let tokens = backends.map(|backend| key.token(pool, backend)).collect();
        Some(Rc::new(Self { sticky, tokens }))
    }

    /// Returns the session of a request with this header.
    pub(super) fn session(self: &Rc<Self>, fields: &dyn Fields, https: bool) -> StickySession {
        let named = Cell::new(None);
        fields.has("cookie", &|line| {
            let found = find_cookie(line, &self.sticky.cookie, |value| self.read(value));
            named.set(found);
            found.is_some()
        });
        StickySession {
            sessions: Rc::clone(self),
            named: named.get(),
            served: Cell::new(None),
            https,
        }
    }

    fn read(&self, value: &[u8]) -> Option<Token> {
        let mut token = Token::default();
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut token).ok()?;
        let same = |one: &&Token| verify_slices_are_equal(&one[..], &token[..length]).is_ok();
        self.tokens.iter().find(same).copied()
    }

    /// Returns the index of the session's backend if the pool still has it.
    pub(super) fn backend_of(&self, session: &StickySession) -> Option<usize> {
        let named = session.named?;
        self.tokens.iter().position(|token| *token == named)
    }

    /// Records that the request goes to this backend.
    pub(super) fn assign(&self, session: &StickySession, backend: usize) {
        session.served.set(self.tokens.get(backend).copied());
    }
}

/// The sticky session of a request, existing or new.
#[derive(Debug)]
pub(super) struct StickySession {
    sessions: Rc<StickySessions>,
    /// The token of a valid cookie in the request.
    named: Option<Token>,
    /// The token of the backend that the request was sent to.
    served: Cell<Option<Token>>,
    https: bool,
}

impl StickySession {
    /// Returns the cookie's name.
    pub(super) fn cookie(&self) -> &str {
        &self.sessions.sticky.cookie
    }

    /// Returns the Set-Cookie value for the client (RFC 6265 §4.1); `None` if the client's cookie
    /// already names the right backend.
    pub(super) fn set_cookie(&self) -> Option<String> {
        let served = self.served.get()?;
        if self.named == Some(served) {
            return None;
        }
        let sticky = &self.sessions.sticky;
        let value = URL_SAFE_NO_PAD.encode(served);
        let mut cookie = format!("{}={value}; Path={}", sticky.cookie, sticky.path);
        if let Some(age) = sticky.max_age {
            cookie += &format!("; Max-Age={}", age.as_secs());
        }
        if sticky.secure.unwrap_or(self.https) {
            cookie += "; Secure";
        }
        if sticky.http_only {
            cookie += "; HttpOnly";
        }
        cookie += "; SameSite=";
        cookie += sticky.same_site.word();
        Some(cookie)
    }
}

#[cfg(test)]
#[path = "sticky_tests.rs"]
mod tests;
