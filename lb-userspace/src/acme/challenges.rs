//! The responses to ACME challenges that the front serves while a directory validates names.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

/// The ALPN protocol name with which a directory opens a TLS-ALPN-01 connection (RFC 8737 §6.2).
pub const ACME_TLS: &[u8] = b"acme-tls/1";
/// The prefix of the paths that a directory requests for HTTP-01 (RFC 8555 §8.3).
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// The challenge responses that the front serves at present. Clones share the responses.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether there are any responses. While there are none, looking for one costs a request an
    /// atomic load and no lock.
    any: AtomicBool,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    /// The number of responses that were offered so far. This number identifies the next offer,
    /// because both hosts of a pair may offer a response for the same name.
    offers: u64,
    /// The key authorizations that are served for each HTTP-01 token, each with the number of its
    /// offer.
    http: HashMap<String, Vec<(u64, String)>>,
    /// The certificates that are served for each name that TLS-ALPN-01 validates, each with the
    /// number of its offer.
    tls: HashMap<String, Vec<(u64, Arc<CertifiedKey>)>>,
}

/// A response to a challenge, in the form that the hosts of a pair exchange.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Response {
    /// The response to an HTTP-01 challenge.
    Http {
        /// The last segment of the path that the directory requests.
        token: String,
        /// The content that the directory expects.
        key_authorization: String,
    },
    /// The response to a TLS-ALPN-01 challenge.
    Tls {
        /// The name that is validated, in lower case.
        name: String,
        /// The SHA-256 of the key authorization.
        digest: [u8; 32],
    },
}

impl Answers {
    fn number(&mut self) -> u64 {
        self.offers += 1;
        self.offers
    }

    fn is_empty(&self) -> bool {
        self.http.is_empty() && self.tls.is_empty()
    }
}

impl Response {
    /// Creates the response to a TLS-ALPN-01 challenge. `digest` is the SHA-256 of the key
    /// authorization (RFC 8737 §3).
    ///
    /// # Errors
    /// The digest does not have 32 bytes.
    pub fn tls(name: &str, digest: &[u8]) -> Result<Self, SelfSignedError> {
        let digest = digest.try_into();
        let digest =
            digest.map_err(|_| SelfSignedError("its digest does not have 32 bytes".to_owned()))?;
        let name = name.to_owned();
        Ok(Self::Tls { name, digest })
    }
}

/// Guard of a challenge response: the response is served until the guard is dropped.
#[derive(Debug)]
#[must_use]
pub struct Offer {
    challenges: Challenges,
    number: u64,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Http(String),
    Tls(String),
}

/// A self-signed certificate could not be created, with the reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot create a self-signed certificate: {0}")]
pub struct SelfSignedError(String);

impl Challenges {
    /// Returns the content to answer an HTTP-01 request `GET target` with; `None` if no response is
    /// served at `target`.
    #[must_use]
    pub fn http_answer(&self, target: &str) -> Option<String> {
        if !self.0.any.load(Ordering::Relaxed) {
            return None;
        }
        let token = target.strip_prefix(WELL_KNOWN)?;
        latest(&self.answers().http, token)
    }

    /// Returns the certificate that answers a TLS-ALPN-01 challenge for this name, which must be in
    /// lower case; `None` if there is none.
    #[must_use]
    pub fn tls_answer(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        latest(&self.answers().tls, name)
    }

    /// Serves a response to a challenge until the returned guard is dropped.
    ///
    /// # Errors
    /// The TLS-ALPN-01 certificate cannot be created.
    pub fn offer(&self, response: &Response) -> Result<Offer, SelfSignedError> {
        match response {
            Response::Http {
                token,
                key_authorization,
            } => Ok(self.offer_http(token, key_authorization)),
            Response::Tls { name, digest } => self.offer_tls(name, digest),
        }
    }

    fn offer_http(&self, token: &str, key_authorization: &str) -> Offer {
        let answer = key_authorization.to_owned();
        let number = self.change(|answers| {
            let number = answers.number();
            let offers = answers.http.entry(token.to_owned()).or_default();
            offers.push((number, answer));
            number
        });
        self.offered(number, Key::Http(token.to_owned()))
    }

    fn offer_tls(&self, name: &str, digest: &[u8]) -> Result<Offer, SelfSignedError> {
        let key = Arc::new(challenge_certificate(name, digest)?);
        let number = self.change(|answers| {
            let number = answers.number();
            let offers = answers.tls.entry(name.to_owned()).or_default();
            offers.push((number, key));
            number
        });
        Ok(self.offered(number, Key::Tls(name.to_owned())))
    }

    fn offered(&self, number: u64, key: Key) -> Offer {
        Offer {
            challenges: self.clone(),
            number,
            key,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Answers) -> T) -> T {
        let mut answers = self.answers();
        let changed = change(&mut answers);
        self.0.any.store(!answers.is_empty(), Ordering::Relaxed);
        changed
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // A poisoned lock is used as it is: each change of the maps of responses is one insertion
        // or removal, so they are consistent even if a thread panicked.
        self.0
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.challenges.change(|answers| match &self.key {
            Key::Http(token) => remove(&mut answers.http, token, self.number),
            Key::Tls(name) => remove(&mut answers.tls, name, self.number),
        });
    }
}

/// Returns the response that was offered last for this token or name.
fn latest<V: Clone>(offers: &HashMap<String, Vec<(u64, V)>>, key: &str) -> Option<V> {
    let (_, answer) = offers.get(key)?.last()?;
    Some(answer.clone())
}

fn remove<V>(offers: &mut HashMap<String, Vec<(u64, V)>>, key: &str, number: u64) {
    if let Some(of_key) = offers.get_mut(key) {
        of_key.retain(|(other, _)| *other != number);
        if of_key.is_empty() {
            offers.remove(key);
        }
    }
}

fn challenge_certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, SelfSignedError> {
    let made = |error: rcgen::Error| SelfSignedError(error.to_string());
    let mut params = CertificateParams::new([name.to_owned()]).map_err(made)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    self_signed(&params)
}

/// Creates a self-signed certificate for these names, which TLS handshakes use until the first
/// certificate is obtained.
///
/// # Errors
/// The certificate cannot be created.
pub fn placeholder(names: &[String]) -> Result<CertifiedKey, SelfSignedError> {
    let params =
        CertificateParams::new(names).map_err(|error| SelfSignedError(error.to_string()))?;
    self_signed(&params)
}

fn self_signed(params: &CertificateParams) -> Result<CertifiedKey, SelfSignedError> {
    let made = |error: rcgen::Error| SelfSignedError(error.to_string());
    let pair = KeyPair::generate().map_err(made)?;
    let certificate = params.self_signed(&pair).map_err(made)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let chain = vec![certificate.der().clone()];
    // `CertifiedKey::from_der` cannot be used: it rejects critical extensions that it does not
    // know, such as that of TLS-ALPN-01.
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| SelfSignedError(error.to_string()))?;
    Ok(CertifiedKey::new(chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_offered_for_as_long_as_its_offer_lives() {
        let challenges = Challenges::default();
        let target = "/.well-known/acme-challenge/token";
        assert_eq!(challenges.http_answer(target), None);
        let offer = challenges.offer_http("token", "token.thumbprint");
        let other = challenges.offer_http("other", "other.thumbprint");
        assert_eq!(
            challenges.http_answer(target).as_deref(),
            Some("token.thumbprint")
        );
        assert_eq!(challenges.http_answer("/token"), None);
        drop(offer);
        assert_eq!(challenges.http_answer(target), None);
        // A response may be offered twice, by both hosts of a pair: dropping one of the two offers
        // must not end the other offer.
        let twice = challenges.offer_http("other", "other.thumbprint");
        drop(other);
        assert!(
            challenges
                .http_answer("/.well-known/acme-challenge/other")
                .is_some()
        );
        drop(twice);
        assert!(!challenges.0.any.load(Ordering::Relaxed));
    }

    #[test]
    fn the_certificate_of_a_challenge_has_the_critical_identifier_and_one_name() {
        use x509_parser::prelude::FromDer as _;

        let challenges = Challenges::default();
        let digest = [7; 32];
        let _offer = challenges
            .offer_tls("www.example.org", &digest)
            .expect("made");
        let key = challenges.tls_answer("www.example.org").expect("offered");
        let parsed = x509_parser::certificate::X509Certificate::from_der(&key.cert[0]);
        let (_, parsed) = parsed.expect("a certificate");
        // The identifier of id-pe-acmeIdentifier (RFC 8737 §6.1). Its value is an OCTET STRING of
        // 32 bytes.
        let identifier = parsed
            .extensions()
            .iter()
            .find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .expect("the extension");
        assert!(identifier.critical);
        assert_eq!(identifier.value, [&[4, 32][..], &digest].concat());
        let names = parsed.subject_alternative_name().expect("readable");
        assert_eq!(names.expect("names").value.general_names.len(), 1);
        assert!(challenges.tls_answer("example.org").is_none());
    }
}
