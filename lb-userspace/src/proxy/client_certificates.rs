//! Client certificates: how they are verified, and how they are described to backends.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

use super::{
    certificates::moment,
    error::{CertificateProblem as Problem, Error},
};
use crate::config::{ClientAuthorities, ClientCertificates, Name};

/// Size limit of a file of certificate authorities or revocation lists, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Validates the files of certificate authorities and revocation lists by which a service verifies
/// its clients, without using them. Returns every problem of every file.
#[must_use]
pub fn check_client_authorities(service: &Name, clients: &ClientCertificates) -> Vec<Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    verifier(service, clients, provider)
        .err()
        .unwrap_or_default()
}

/// Returns the verifier of a service's client certificates; `None` if the service does not ask
/// clients for a certificate.
///
/// # Errors
/// Every problem of the files of certificate authorities and revocation lists.
pub(super) fn verifier(
    service: &Name,
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Vec<Error>> {
    let (authorities, required) = match clients {
        ClientCertificates::None => return Ok(None),
        ClientCertificates::Optional(authorities) => (authorities, false),
        ClientCertificates::Required(authorities) => (authorities, true),
    };
    build(
        &format!("service \"{service}\""),
        authorities,
        required,
        provider,
    )
    .map(Some)
}

/// Returns the verifier of the client certificates of operators. It also accepts clients without a
/// certificate.
///
/// # Errors
/// Every problem of the files of certificate authorities and revocation lists.
pub fn operator_verifier(
    authorities: &ClientAuthorities,
) -> Result<Arc<dyn ClientCertVerifier>, Vec<Error>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    build("[admin]", authorities, false, provider)
}

/// Builds a verifier for the clients of `listener`, which errors name. `required` says whether it
/// refuses clients without a certificate.
fn build(
    listener: &str,
    ClientAuthorities {
        authorities,
        revocations,
    }: &ClientAuthorities,
    required: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Vec<Error>> {
    let (roots, mut errors) = roots(authorities);
    let (lists, more) = read_all::<CertificateRevocationListDer<'static>>(revocations, "list");
    errors.extend(more);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !lists.is_empty() {
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if !required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| {
        vec![Error::ClientCertificates {
            listener: listener.to_owned(),
            what: error.to_string(),
        }]
    })
}

/// Validates a file of certificate authorities.
///
/// # Errors
/// The first problem of the file.
pub fn check_authorities(path: &Path) -> Result<(), Error> {
    let (_, errors) = roots(&[path.to_owned()]);
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Returns when the first of the revocation lists in a file expires; `None` if none does.
///
/// # Errors
/// The first problem of the file.
pub fn revocations_expire(path: &Path) -> Result<Option<SystemTime>, Error> {
    let files = [path.to_owned()];
    let (lists, errors) = read_all::<CertificateRevocationListDer<'static>>(&files, "list");
    errors.into_iter().next().map_or(Ok(()), Err)?;
    let mut first = None;
    for list in lists {
        let parsed = CertificateRevocationList::from_der(&list);
        let (_, parsed) = parsed.map_err(|error| bad(path, error.to_string()))?;
        let end = parsed.next_update().map(moment);
        first = end.into_iter().chain(first).min();
    }
    Ok(first)
}

fn roots(paths: &[PathBuf]) -> (RootCertStore, Vec<Error>) {
    let (mut roots, mut errors) = (RootCertStore::empty(), Vec::new());
    for path in paths {
        let (certificates, more) =
            read_all::<CertificateDer<'static>>(std::slice::from_ref(path), "certificate");
        errors.extend(more);
        for certificate in certificates {
            if let Err(error) = roots.add(certificate) {
                errors.push(bad(path, error.to_string()));
            }
        }
    }
    (roots, errors)
}

/// Reads the PEM blocks of one kind from all files, and returns them with the errors; a file
/// without a block of that kind is an error.
fn read_all<T: PemObject>(paths: &[PathBuf], kind: &str) -> (Vec<T>, Vec<Error>) {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match read(path) {
            Err(problem) => errors.push(Error::Certificate {
                path: path.clone(),
                problem,
            }),
            Ok(text) => match T::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
                Ok(found) if found.is_empty() => {
                    errors.push(bad(path, format!("it contains no {kind}")));
                }
                Ok(found) => all.extend(found),
                Err(error) => errors.push(bad(path, error.to_string())),
            },
        }
    }
    (all, errors)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Unreadable(error),
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text))
        .map_err(unreadable)?;
    Ok(text)
}

fn bad(path: &Path, what: String) -> Error {
    Error::Certificate {
        path: path.to_owned(),
        problem: Problem::BadAuthority(what),
    }
}

/// Returns the header lines that describe a client's certificate to a backend, CR LF included: the
/// certificate (RFC 9440 §2.2) and its subject. Returns `None` if the certificate cannot be parsed.
pub(super) fn fields(certificate: &CertificateDer<'_>) -> Option<Box<[u8]>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = escaped(&parsed.subject().to_string());
    let encoded = STANDARD.encode(certificate);
    let lines = format!("Client-Cert: :{encoded}:\r\nX-Client-Cert-Subject: {subject}\r\n");
    Some(lines.into_bytes().into_boxed_slice())
}

/// Returns the name of a client certificate for the log: the common name of its subject, or else its
/// first alternative name, or else its serial number. Bytes that are not printable ASCII are
/// percent-encoded. Returns `None` if the certificate cannot be parsed.
#[must_use]
pub fn client_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut common_names = parsed.subject().iter_common_name();
    let common_name = common_names.find_map(|name| name.as_str().ok());
    let alternative = || {
        let extension = parsed.subject_alternative_name().ok().flatten()?;
        let mut names = extension.value.general_names.iter();
        names.find_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some(*name)
            }
            _ => None,
        })
    };
    let name = common_name.filter(|name| !name.is_empty());
    Some(match name.or_else(alternative) {
        Some(name) => escaped(name),
        None => format!("serial {}", parsed.raw_serial_as_string()),
    })
}

/// Percent-encodes every byte of `text` that is not printable ASCII, and `%` itself.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};

    use super::*;

    #[test]
    fn a_subject_is_one_line_of_printable_characters() {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        let name = "Ada\r\nX-Admin: 100%\u{e9}";
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let made = parameters.self_signed(&key).expect("a certificate");
        let fields = fields(made.der()).expect("parsed");
        let text = std::str::from_utf8(&fields).expect("text");
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("Client-Cert: :MII") && lines[0].ends_with(':'));
        assert!(lines[1].starts_with("X-Client-Cert-Subject: "));
        assert!(
            lines[1].contains("Ada%0D%0AX-Admin: 100%25%C3%A9"),
            "{text}"
        );
    }

    #[test]
    fn a_client_is_named_by_its_common_name_or_else_its_first_other_name() {
        let name_of = |common: Option<&str>, others: &[&str]| {
            let others: Vec<_> = others.iter().map(|name| (*name).to_owned()).collect();
            let mut parameters = CertificateParams::new(others).expect("parameters");
            parameters.distinguished_name = DistinguishedName::new();
            parameters.serial_number = Some(SerialNumber::from(vec![0x1a, 0x2b]));
            if let Some(name) = common {
                parameters.distinguished_name.push(DnType::CommonName, name);
            }
            let key = KeyPair::generate().expect("a key");
            let made = parameters.self_signed(&key).expect("a certificate");
            client_name(made.der()).expect("parsed")
        };
        assert_eq!(name_of(Some("Ada"), &["ada.example"]), "Ada");
        assert_eq!(name_of(Some("A\nB"), &[]), "A%0AB");
        assert_eq!(
            name_of(None, &["ada.example", "other.example"]),
            "ada.example"
        );
        assert_eq!(name_of(Some(""), &["ada@lb.example"]), "ada@lb.example");
        assert_eq!(name_of(None, &[]), "serial 1a:2b");
        assert_eq!(client_name(&CertificateDer::from_slice(b"x")), None);
    }
}
