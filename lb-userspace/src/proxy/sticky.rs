//! Sticky sessions: the cookie that `[pool.sticky]` configures.
//!
//! A cookie's value is a MAC (HMAC-SHA256, RFC 2104) of the pool's name and the backend's address:
//! without the key, nobody can forge a value or derive the address from it. Every worker and both
//! hosts of a pair compute the same values. A request's cookie is compared with the precomputed
//! values of the pool's backends, so no MAC is computed for a request.

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
/// The text with which the input of the MAC begins: another use of the same key must begin with
/// another text.
const PURPOSE: &[u8] = b"lb sticky session 1";

/// The key by which the values of session cookies are computed.
#[derive(Debug)]
pub(super) struct SessionKey(hmac::Key);

impl SessionKey {
    /// Reads a key file. White space at the ends of the file is not part of the key.
    ///
    /// # Errors
    /// The file does not exist, others than the agent can read or change it, or its key is too
    /// short.
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

    /// Reads the session key of a pool; `None` if the pool has no sticky sessions.
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

/// The identifier of a backend in session cookies: the first half of the MAC.
type Token = [u8; 16];

/// The sticky sessions of a pool: their settings, and the token of each backend.
#[derive(Debug)]
pub(super) struct StickySessions {
    sticky: Sticky,
    /// The token of each backend, by the backend's index.
    tokens: Vec<Token>,
}

impl StickySessions {
    /// Creates the sticky sessions of a pool; `None` if the pool has none.
    pub(super) fn new(pool: &Pool, key: Option<&SessionKey>) -> Option<Rc<Self>> {
        let (sticky, key) = (pool.per_request.sticky.clone()?, key?);
        let backends = 0..pool.backends.len();
        let tokens = backends.map(|backend| key.token(pool, backend)).collect();
        Some(Rc::new(Self { sticky, tokens }))
    }

    /// Returns the sticky session of a request with this header; `https` says whether the client
    /// uses TLS.
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

    /// Returns the index of the backend that the request's cookie names; `None` if it names none
    /// that the pool has.
    pub(super) fn backend_of(&self, session: &StickySession) -> Option<usize> {
        let named = session.named?;
        self.tokens.iter().position(|token| *token == named)
    }

    /// Records that the session's request goes to the backend with this index.
    pub(super) fn assign(&self, session: &StickySession, backend: usize) {
        session.served.set(self.tokens.get(backend).copied());
    }
}

/// The sticky session of a request, which the request's cookie names or which begins with this
/// request.
#[derive(Debug)]
pub(super) struct StickySession {
    sessions: Rc<StickySessions>,
    /// The token in the request's cookie; `None` if no cookie of the request names a backend of the
    /// pool.
    named: Option<Token>,
    /// The token of the backend to which the request was sent; `None` until then.
    served: Cell<Option<Token>>,
    https: bool,
}

impl StickySession {
    /// Returns the name of the session cookie.
    pub(super) fn cookie(&self) -> &str {
        &self.sessions.sticky.cookie
    }

    /// Returns the value of the `Set-Cookie` line for the client (RFC 6265 §4.1); `None` if the
    /// client's cookie already names the backend that served it.
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
