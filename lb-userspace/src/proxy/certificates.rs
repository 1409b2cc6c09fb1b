//! Certificate files: read, checked, described.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::aws_lc_rs::digest;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::{CertificateProblem as Problem, Error};
use crate::config::Name;

/// More than any certificate chain has.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateInfo {
    /// The service that it is for.
    pub service: Name,
    /// The file that it came from.
    pub path: PathBuf,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Its SHA-256.
    pub fingerprint: [u8; 32],
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectedCertificate {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Its SHA-256.
    pub fingerprint: [u8; 32],
}

/// Checks what would be in a certificate file, chain and key, and says what the first certificate
/// says of itself.
///
/// # Errors
/// It could not be served.
pub fn inspect_certificate(text: &[u8]) -> Result<InspectedCertificate, Problem> {
    let certificate = parse(text)?;
    Ok(InspectedCertificate {
        names: certificate.names,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: certificate.fingerprint,
    })
}

/// Checks certificate files without serving them: every problem of every file.
#[must_use]
pub fn check_certificates(paths: &[PathBuf]) -> Vec<Error> {
    paths.iter().filter_map(|path| load(path).err()).collect()
}

/// A certificate file that can be served.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// Chain and key.
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names in lower case, wildcards as they stand, and addresses.
    pub(super) names: Vec<String>,
    /// When the first certificate begins.
    pub(super) not_before: SystemTime,
    /// When it ends.
    pub(super) not_after: SystemTime,
    /// Its SHA-256.
    pub(super) fingerprint: [u8; 32],
}

/// Reads and checks a certificate file.
pub(super) fn load(path: &Path) -> Result<Certificate, Error> {
    read(path)
        .and_then(|text| parse(&text))
        .map_err(|problem| Error::Certificate {
            path: path.to_owned(),
            problem,
        })
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Unreadable(error),
    };
    // The kind first: opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Problem::Open {
            mode,
            path: path.to_owned(),
        });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

fn parse(text: &[u8]) -> Result<Certificate, Problem> {
    let (chain, key) = take_apart(text)?;
    let mut first = None;
    for (number, certificate) in (1..).zip(&chain) {
        let parsed = x509_parser::certificate::X509Certificate::from_der(certificate);
        let (_, parsed) = parsed.map_err(|error| Problem::BadCertificate {
            number,
            what: error.to_string(),
        })?;
        first.get_or_insert_with(|| {
            let validity = parsed.validity();
            let [begin, end] = [validity.not_before, validity.not_after].map(moment);
            (names(&parsed), begin, end, sha256(certificate))
        });
    }
    let (names, not_before, not_after, fingerprint) = first.ok_or(Problem::NoCertificate)?;
    let key =
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
            match error {
                rustls::Error::InconsistentKeys(_) => Problem::Mismatch,
                error => Problem::BadKey(error),
            }
        })?;
    Ok(Certificate {
        key: Arc::new(key),
        names,
        not_before,
        not_after,
        fingerprint,
    })
}

/// The chain, at least one certificate, and the one key.
fn take_apart(
    text: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Problem> {
    let bad_pem = |error: pem::Error| Problem::Pem(error.to_string());
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad_pem)?;
    if chain.is_empty() {
        return Err(Problem::NoCertificate);
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad_pem)?;
    match (keys.pop(), keys.is_empty()) {
        (None, _) => Err(Problem::NoKey),
        (Some(_), false) => Err(Problem::SeveralKeys),
        (Some(key), true) => Ok((chain, key)),
    }
}

fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    alternatives
        .value
        .general_names
        .iter()
        .filter_map(text)
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(octets).to_string())
}

fn moment(time: x509_parser::time::ASN1Time) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn sha256(certificate: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, certificate);
    let mut bytes = [0; 32];
    for (byte, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *from;
    }
    bytes
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
