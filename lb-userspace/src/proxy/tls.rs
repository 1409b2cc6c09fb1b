//! Builds the TLS configuration of a service: certificates by name, session tickets, protocols.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ServerConfig, SignatureAlgorithm, SignatureScheme,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::certificates::Certificate;
use crate::{
    acme::{ACME_TLS, Challenges},
    config::{CipherSuite, KeyExchange, Tls, TlsVersion},
};

/// Builds the TLS configuration of a service that speaks HTTP/2 and HTTP/1.1. The first
/// certificate, together with those of other key types for the same names, serves clients that name
/// no host or an unknown one. All workers use the same ticketer, so that a client can resume a
/// session at any of them. `fallback` is the certificate of a service that has none yet.
/// TLS-ALPN-01 challenges (RFC 8737) are answered from `challenges`.
///
/// If client certificates are verified, there are no session tickets: a resumed session would not
/// notice a revocation.
pub(super) fn server_config(
    (settings, provider): (&Tls, Arc<CryptoProvider>),
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    (certificates, fallback): (&[Certificate], Option<Arc<CertifiedKey>>),
    challenges: &Challenges,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match settings.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let verifies = verifier.is_some();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_cert_resolver(Arc::new(Resolver {
            certificates: ByName::new(certificates, fallback),
            challenges: challenges.clone(),
        }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), ACME_TLS.to_vec()];
    if verifies {
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = ticketer;
    }
    // Session tickets carry the TLS session state themselves, so no session store is used: it would
    // need a lock that all workers share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Builds a rustls provider with the cipher suites and key exchanges that a service configures.
pub(super) fn provider(settings: &Tls) -> CryptoProvider {
    let suites = aws_lc_rs::ALL_CIPHER_SUITES;
    let suite = |wanted: &CipherSuite| {
        let found = suites.iter().find(|one| u16::from(one.suite()) == wanted.0);
        found.copied()
    };
    let groups = aws_lc_rs::ALL_KX_GROUPS;
    let group = |wanted: &KeyExchange| {
        let found = groups.iter().find(|one| u16::from(one.name()) == wanted.0);
        found.copied()
    };
    CryptoProvider {
        cipher_suites: settings.ciphers.iter().filter_map(suite).collect(),
        kx_groups: settings.key_exchange.iter().filter_map(group).collect(),
        ..aws_lc_rs::default_provider()
    }
}

/// Chooses the certificate for a TLS handshake.
#[derive(Debug)]
struct Resolver {
    certificates: ByName,
    challenges: Challenges,
}

/// Finds a certificate for the requested host name whose key type the client can verify.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Keys>,
    /// The certificates for wildcard names: those of `*.example.org` have the map key
    /// `example.org`.
    wildcard: HashMap<String, Keys>,
    /// The first certificate of the configuration, and those that share a name with it.
    default: Keys,
}

/// The certificates for one host name, those with the cheapest signature first.
type Keys = Vec<Arc<CertifiedKey>>;

impl ByName {
    /// Sorts certificates by name. Of several certificates of one key type for one name, the first
    /// is used.
    fn new(certificates: &[Certificate], fallback: Option<Arc<CertifiedKey>>) -> Self {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        for certificate in by_cost(certificates) {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                let keys: &mut Keys = map.entry(name.to_owned()).or_default();
                keys.push(Arc::clone(&certificate.key));
            }
        }
        let first = certificates.first();
        let names = first.map_or(&[][..], |first| first.names.as_slice());
        let is_default = |certificate: &&Certificate| {
            first.is_some_and(|first| Arc::ptr_eq(&first.key, &certificate.key))
                || certificate.names.iter().any(|name| names.contains(name))
        };
        let default = by_cost(certificates).into_iter().filter(is_default);
        let default: Keys = default.map(|one| Arc::clone(&one.key)).collect();
        Self {
            exact,
            wildcard,
            default: if default.is_empty() {
                fallback.into_iter().collect()
            } else {
                default
            },
        }
    }

    /// Returns a certificate for a host name that can sign with one of the `schemes`. If there is
    /// none, returns any certificate for the name: the handshake then fails because no scheme fits.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        // rustls passes the requested host name in lower case.
        let exact = name.and_then(|name| self.exact.get(name));
        let parent = name.and_then(|name| Some(name.split_once('.')?.1));
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        let named = exact.into_iter().chain(wildcard).flatten();
        choose(&named, schemes).or_else(|| choose(&self.default.iter(), schemes))
    }
}

/// Returns the certificates sorted by the cost of a signature. RSA certificates come last: their
/// signatures cost several times as much as those of ECDSA.
fn by_cost(certificates: &[Certificate]) -> Vec<&Certificate> {
    let mut sorted: Vec<_> = certificates.iter().collect();
    sorted.sort_by_key(|one| one.key.key.algorithm() == SignatureAlgorithm::RSA);
    sorted
}

fn choose<'a>(
    keys: &(impl Iterator<Item = &'a Arc<CertifiedKey>> + Clone),
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    let mut able = keys.clone();
    able.find(|key| key.key.choose_scheme(schemes).is_some())
        .or_else(|| keys.clone().next())
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client_hello.server_name();
        if validates(&client_hello) {
            return self.challenges.tls_answer(name?);
        }
        // rustls has already removed the schemes that fit none of the client's cipher suites.
        let schemes = client_hello.signature_schemes();
        self.certificates.find(name, schemes).map(Arc::clone)
    }
}

/// Returns whether the client is an ACME validation server, which offers only the protocol
/// `acme-tls/1` (RFC 8737 §3).
fn validates(client_hello: &ClientHello<'_>) -> bool {
    let Some(mut protocols) = client_hello.alpn() else {
        return false;
    };
    protocols.next() == Some(ACME_TLS) && protocols.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        of_kind(names, &PKCS_ECDSA_P256_SHA256)
    }

    fn of_kind(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> Certificate {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let parameters = CertificateParams::new(["x".to_owned()]).expect("a name");
        let made = parameters.self_signed(&pair).expect("a certificate");
        let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
        let chain = vec![made.der().clone()];
        Certificate {
            key: Arc::new(
                CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).expect("a pair"),
            ),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            fingerprint: [0; 32],
        }
    }

    #[test]
    fn every_cipher_suite_and_key_exchange_that_can_be_named_is_there() {
        let settings = Tls::default();
        let provider = provider(&settings);
        assert_eq!(provider.cipher_suites.len(), CipherSuite::ALL.len());
        assert_eq!(provider.kx_groups.len(), KeyExchange::ALL.len());
        for ((name, _), suite) in CipherSuite::ALL.iter().zip(&provider.cipher_suites) {
            let theirs = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            assert_eq!(*name, theirs);
        }
        for ((name, _), group) in KeyExchange::ALL.iter().zip(&provider.kx_groups) {
            assert_eq!(
                format!("{:?}", group.name()).to_lowercase(),
                name.to_lowercase()
            );
        }
    }

    #[test]
    fn a_name_finds_its_certificate_exact_before_wildcard() {
        let certificates = [
            certificate(&["*.a.example"]),
            certificate(&["b.a.example", "c.example"]),
        ];
        let by_name = ByName::new(&certificates, None);
        let found = |name| {
            let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
            by_name.find(Some(name), &schemes).and_then(|key| {
                certificates
                    .iter()
                    .position(|certificate| Arc::ptr_eq(&certificate.key, key))
            })
        };
        assert_eq!(found("x.a.example"), Some(0));
        assert_eq!(found("b.a.example"), Some(1));
        assert_eq!(found("c.example"), Some(1));
        for other in ["a.example", "x.y.a.example", "other"] {
            assert_eq!(found(other), Some(0), "the first is the default");
        }
    }

    #[test]
    fn of_several_kinds_the_cheapest_that_the_client_can_verify_is_chosen() {
        const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
        const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        let certificates = [
            of_kind(&["a.example"], &PKCS_RSA_SHA256),
            of_kind(&["a.example", "b.example"], &PKCS_ECDSA_P256_SHA256),
            of_kind(&["*.example"], &PKCS_RSA_SHA256),
        ];
        let by_name = ByName::new(&certificates, None);
        let found = |name, schemes: &[SignatureScheme]| {
            let key = by_name.find(name, schemes).expect("a certificate");
            certificates
                .iter()
                .position(|certificate| Arc::ptr_eq(&certificate.key, key))
        };
        for name in [Some("a.example"), Some("unknown"), None] {
            assert_eq!(found(name, &[RSA, ECDSA]), Some(1), "{name:?}");
            assert_eq!(found(name, &[RSA]), Some(0), "{name:?}");
            assert_eq!(found(name, &[ECDSA]), Some(1), "{name:?}");
        }
        assert_eq!(found(Some("b.example"), &[RSA]), Some(2), "the wildcard's");
        assert_eq!(
            found(Some("c.example"), &[ECDSA]),
            Some(2),
            "there is no other"
        );
    }
}
