//! TLS for one service: its certificates by name, its tickets, its protocols.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificates::Certificate;

/// The TLS settings of a service: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. The first certificate is
/// for clients that send no name, or one that no certificate has. The ticketer is the same for all
/// workers, so that a client resumes wherever it arrives.
pub(super) fn server_config(
    certificates: &[Certificate],
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName::new(certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ticketer;
    // Tickets carry the session: a store would be one lock for all workers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Finds the certificate for the name that a client asks for.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.org` under `example.org`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl ByName {
    /// Of several certificates for one name, the first is used.
    fn new(certificates: &[Certificate]) -> Self {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned())
                    .or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        let default = certificates.first().map(|first| Arc::clone(&first.key));
        Self {
            exact,
            wildcard,
            default,
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // rustls hands the name over in lower case; a map of one or two needs no lower-casing.
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        client_hello
            .server_name()
            .and_then(|name| self.find(name))
            .or(self.default.as_ref())
            .map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let chain = vec![made.cert.der().clone()];
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
    fn a_name_finds_its_certificate_exact_before_wildcard() {
        let certificates = [
            certificate(&["*.a.example"]),
            certificate(&["b.a.example", "c.example"]),
        ];
        let by_name = ByName::new(&certificates);
        let found = |name| {
            by_name.find(name).and_then(|key| {
                certificates
                    .iter()
                    .position(|certificate| Arc::ptr_eq(&certificate.key, key))
            })
        };
        assert_eq!(found("x.a.example"), Some(0));
        assert_eq!(found("b.a.example"), Some(1));
        assert_eq!(found("c.example"), Some(1));
        assert_eq!(found("a.example"), None);
        assert_eq!(found("x.y.a.example"), None);
        assert_eq!(found("other"), None);
    }
}
