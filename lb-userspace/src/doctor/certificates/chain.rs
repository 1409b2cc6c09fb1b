//! Checks whether the certificates in a file form a chain to a trusted certificate authority.

use std::{collections::HashSet, env, fs, path::PathBuf};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _,
};

/// The subjects of the certificate authorities that this host trusts, in DER.
pub(super) type Authorities = HashSet<Vec<u8>>;

/// Files with the certificate authorities that the host trusts: of Debian, and of Fedora and its
/// relatives.
const FILES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Reads the subjects of the certificate authorities that this host trusts. As in OpenSSL, the
/// environment variable `SSL_CERT_FILE` names another file to read instead.
pub(super) fn trusted_authorities() -> Authorities {
    let named = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let files = named.map_or_else(|| FILES.map(PathBuf::from).to_vec(), |file| vec![file]);
    let texts = files.iter().filter_map(|file| fs::read(file).ok());
    texts.flat_map(|text| subjects(&text)).collect()
}

fn subjects(text: &[u8]) -> Vec<Vec<u8>> {
    let certificates = CertificateDer::pem_slice_iter(text).flatten();
    let subject = |der: CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        Some(parsed.subject().as_raw().to_vec())
    };
    certificates.filter_map(subject).collect()
}

/// The certificates of a file, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain(Vec<Link>);

/// One certificate of a chain.
#[derive(Clone, Debug)]
struct Link {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    issuer_name: String,
    /// Whether the certificate gives a URL of its issuer's certificate, as certificates of public
    /// authorities do (RFC 5280, section 4.2.2.1).
    names_issuers: bool,
}

/// The result of following a chain from each certificate to that of its issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The chain leads to a trusted authority. The value is the number of certificates in the file.
    Complete(usize),
    /// The only certificate in the file is its own issuer, or the file has no certificate.
    SelfSigned,
    /// A certificate is not followed by the certificate of its issuer. `place` is its position in
    /// the file, counted from 1.
    Broken { place: usize, issuer: String },
    /// The file lacks the certificate of `issuer`, which issued the last certificate and which this
    /// host does not trust. The last certificate gives a URL of its issuer's certificate, so the
    /// authority seems to be public.
    Incomplete { issuer: String },
    /// The chain ends at an authority that this host does not trust and that seems to be private:
    /// the last certificate is its own issuer, or gives no URL of its issuer's certificate.
    Private { issuer: String },
}

impl Chain {
    /// Parses the certificates in a PEM file; other content of the file is skipped.
    pub(super) fn parse(text: &[u8]) -> Self {
        let links = CertificateDer::pem_slice_iter(text).flatten();
        let link = |der: CertificateDer<'_>| {
            let (_, parsed) = X509Certificate::from_der(&der).ok()?;
            Some(Link {
                subject: parsed.subject().as_raw().to_vec(),
                issuer: parsed.issuer().as_raw().to_vec(),
                issuer_name: parsed.issuer().to_string(),
                names_issuers: names_issuers(&parsed),
            })
        };
        Self(links.filter_map(link).collect())
    }

    /// Follows the chain from the first certificate to the last. `roots` are the certificate
    /// authorities that this host trusts.
    pub(super) fn judge(&self, roots: &Authorities) -> Verdict {
        for (place, pair) in (1..).zip(self.0.windows(2)) {
            // A certificate whose issuer is trusted ends the chain: what follows in the file is not
            // needed.
            if let [link, next] = pair
                && link.issuer != next.subject
                && !roots.contains(&link.issuer)
            {
                return Verdict::Broken {
                    place,
                    issuer: link.issuer_name.clone(),
                };
            }
        }
        let Some(last) = self.0.last() else {
            return Verdict::SelfSigned;
        };
        let trusted = |link: &Link| roots.contains(&link.issuer) || roots.contains(&link.subject);
        if self.0.iter().any(trusted) {
            return Verdict::Complete(self.0.len());
        }
        let issuer = last.issuer_name.clone();
        match last.subject == last.issuer {
            true if self.0.len() == 1 => Verdict::SelfSigned,
            true => Verdict::Private { issuer },
            false if last.names_issuers => Verdict::Incomplete { issuer },
            false => Verdict::Private { issuer },
        }
    }
}

fn names_issuers(certificate: &X509Certificate<'_>) -> bool {
    /// The OID of `id-ad-caIssuers`, with which a certificate gives the URL of its issuer's
    /// certificate.
    const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
    certificate.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::AuthorityInfoAccess(access)
            if access.accessdescs.iter().any(|one| one.access_method.to_id_string() == CA_ISSUERS))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa,
        KeyPair,
    };

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str, by: Option<&Issuer>) -> Issuer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        match by {
            None => CertifiedIssuer::self_signed(params, key),
            Some(by) => CertifiedIssuer::signed_by(params, key, by),
        }
        .expect("an authority")
    }

    fn leaf(by: &Issuer, names_issuers: bool) -> String {
        let mut params =
            CertificateParams::new(vec!["www.example.org".to_owned()]).expect("a name");
        if names_issuers {
            // The extension that gives the URL of the issuer's certificate, in DER: SEQUENCE {
            // SEQUENCE { OID id-ad-caIssuers, [6] "http://x" } }
            let mut access = vec![
                0x30, 0x16, 0x30, 0x14, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02,
                0x86, 0x08,
            ];
            access.extend(b"http://x");
            let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
            params.custom_extensions.push(extension);
        }
        let key = KeyPair::generate().expect("a key");
        params.signed_by(&key, by).expect("signed").pem()
    }

    fn judged(files: &[&str], roots: &[&Issuer]) -> Verdict {
        let roots: Authorities = roots
            .iter()
            .flat_map(|root| subjects(root.pem().as_bytes()))
            .collect();
        Chain::parse(files.concat().as_bytes()).judge(&roots)
    }

    #[test]
    fn a_chain_leads_to_a_trusted_authority_or_says_what_is_missing() {
        let root = authority("Root", None);
        let middle = authority("Intermediate", Some(&root));
        let public = leaf(&middle, true);
        let middle = middle.pem();
        assert_eq!(judged(&[&public, &middle], &[&root]), Verdict::Complete(2));
        assert_eq!(
            judged(&[&public, &middle, &root.pem()], &[&root]),
            Verdict::Complete(3)
        );
        let issuer = "CN=Intermediate".to_owned();
        assert_eq!(judged(&[&public], &[&root]), Verdict::Incomplete { issuer });
    }

    #[test]
    fn certificates_in_the_wrong_order_are_named_by_their_place() {
        let root = authority("Root", None);
        let middle = authority("Intermediate", Some(&root));
        let other = authority("Other", None);
        let leaf = leaf(&middle, true);
        let issuer = "CN=Intermediate".to_owned();
        let verdict = judged(&[&leaf, &other.pem(), &middle.pem()], &[&root]);
        assert_eq!(verdict, Verdict::Broken { place: 1, issuer });
    }

    #[test]
    fn a_private_authority_is_told_from_a_missing_intermediate() {
        let root = authority("Ours", None);
        let issuer = "CN=Ours".to_owned();
        assert_eq!(
            judged(&[&leaf(&root, false)], &[]),
            Verdict::Private { issuer }
        );
        assert_eq!(
            judged(&[&leaf(&root, false)], &[&root]),
            Verdict::Complete(1)
        );
        assert_eq!(judged(&[&root.pem()], &[]), Verdict::SelfSigned);
        assert_eq!(judged(&[], &[]), Verdict::SelfSigned);
    }
}
