//! Reads, validates and describes certificate files.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::aws_lc_rs::digest;
use nix::unistd::{Gid, Uid, getgroups};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::{
    CertificateProblem as Problem, Error,
    pem::{self, Block, Content, Contents},
};
use crate::{
    config::Name,
    private_file::{self, PrivateFileError},
};

mod metrics;

pub use metrics::CertificateMetrics;
pub(crate) use metrics::FAMILIES as CERTIFICATE_METRICS;

/// Size limit of a certificate file, in bytes: larger than any real chain.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate that a service of the front has in use.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateInfo {
    /// The service that uses the certificate.
    pub service: Name,
    /// The file that the certificate was read from.
    pub path: PathBuf,
    /// The DNS names and IP addresses that the certificate is valid for.
    pub names: Vec<String>,
    /// The beginning of the certificate's validity (`notBefore`).
    pub not_before: SystemTime,
    /// The end of the certificate's validity (`notAfter`).
    pub not_after: SystemTime,
    /// The SHA-256 of the certificate in DER.
    pub fingerprint: [u8; 32],
}

/// The properties of a certificate by which the agent decides about its renewal.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectedCertificate {
    /// The DNS names and IP addresses that the certificate is valid for.
    pub names: Vec<String>,
    /// The beginning of the certificate's validity (`notBefore`).
    pub not_before: SystemTime,
    /// The end of the certificate's validity (`notAfter`).
    pub not_after: SystemTime,
    /// The SHA-256 of the certificate in DER.
    pub fingerprint: [u8; 32],
}

/// Validates the text of a certificate file, which holds a chain and its key, and describes the
/// first certificate of the chain.
///
/// # Errors
/// The text cannot be used to serve TLS.
pub fn inspect_certificate(text: &[u8]) -> Result<InspectedCertificate, Problem> {
    let certificate = parse(text)?;
    Ok(InspectedCertificate {
        names: certificate.names,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: certificate.fingerprint,
    })
}

/// Validates certificate files without serving them. Returns the problem of each file that cannot
/// be used.
#[must_use]
pub fn check_certificates(paths: &[PathBuf]) -> Vec<Error> {
    paths.iter().filter_map(|path| load(path).err()).collect()
}

/// Reads and validates a certificate file for a listener outside the HTTP front.
///
/// # Errors
/// The file cannot be read, or its certificate could not be served.
pub fn certified_key(path: &Path) -> Result<Arc<CertifiedKey>, Error> {
    load(path).map(|certificate| certificate.key)
}

/// A certificate file that can be served.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// The certificate chain and the private key.
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names of the first certificate in lower case (wildcards unchanged), and its IP
    /// addresses.
    pub(super) names: Vec<String>,
    /// The beginning of the first certificate's validity (`notBefore`).
    pub(super) not_before: SystemTime,
    /// The end of the first certificate's validity (`notAfter`).
    pub(super) not_after: SystemTime,
    /// The SHA-256 of the first certificate in DER.
    pub(super) fingerprint: [u8; 32],
}

/// Reads and validates the certificate file at this path.
pub(super) fn load(path: &Path) -> Result<Certificate, Error> {
    read(path)
        .and_then(|text| parse(&text))
        .map_err(|problem| Error::Certificate {
            path: path.to_owned(),
            problem,
        })
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let refused = |error: PrivateFileError| match error {
        PrivateFileError::Missing => Problem::Missing,
        PrivateFileError::Io(error) => Problem::Unreadable(error),
        error => Problem::Denied(error),
    };
    // The file type is checked before the file is opened: opening a pipe would block until its
    // other end is opened.
    if !fs::metadata(path)
        .map_err(|error| refused(private_file::unseen(error, path)))?
        .is_file()
    {
        return Err(Problem::NotAFile);
    }
    let file =
        fs::File::open(path).map_err(|error| refused(private_file::unopened(error, path)))?;
    let metadata = file.metadata().map_err(Problem::Unreadable)?;
    let (mode, group) = (metadata.mode() & 0o7777, metadata.gid());
    if !is_private(mode, is_own_group(group)) {
        return Err(Problem::Open {
            mode,
            group,
            path: path.to_owned(),
        });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut text)
        .map_err(Problem::Unreadable)?;
    Ok(text)
}

/// Returns whether a file with these permission bits can be read by the agent alone: by its owner,
/// and, if `own_group` says that the agent is in the file's group, by that group (packages install
/// keys as `root:ssl-cert`, mode 0640). Only the owner may have permission to write the file.
fn is_private(mode: u32, own_group: bool) -> bool {
    let allowed_to_others = if own_group { 0o040 } else { 0 };
    mode & 0o077 & !allowed_to_others == 0
}

/// Returns whether the agent is in the group with this ID. If this process runs as root the answer
/// is always true, because root checks files on behalf of an agent that does not run as root.
fn is_own_group(group: u32) -> bool {
    let group = Gid::from_raw(group);
    Uid::effective().is_root()
        || Gid::effective() == group
        || getgroups().is_ok_and(|groups| groups.contains(&group))
}

fn parse(text: &[u8]) -> Result<Certificate, Problem> {
    let blocks = pem::blocks(text).map_err(Problem::Pem)?;
    let key = the_key(&blocks)?;
    let chain = chain(&blocks)?;
    let Some(first) = chain.first() else {
        return Err(Problem::NoCertificate(Contents::of(&blocks)));
    };
    let signer = any_supported_type(&key).map_err(Problem::BadKey)?;
    let public = signer.public_key();
    let owner = chain.iter().position(|one| {
        let own = public.as_ref();
        own.is_none_or(|own| own.as_ref() == one.parsed.public_key().raw)
    });
    match owner {
        Some(0) => {}
        None => return Err(Problem::Mismatch(Contents::of(&blocks))),
        Some(place) => {
            return Err(Problem::NotFirst {
                number: place + 1,
                line: chain[place].line,
                contents: Contents::of(&blocks),
            });
        }
    }
    let validity = first.parsed.validity();
    let ders = chain.iter().map(|one| one.der.clone());
    Ok(Certificate {
        names: names(&first.parsed),
        not_before: moment(validity.not_before),
        not_after: moment(validity.not_after),
        fingerprint: sha256(first.der),
        // `CertifiedKey::from_der` is not used: it refuses X.509 version 1 certificates, which old
        // tools create.
        key: Arc::new(CertifiedKey::new(ders.collect(), signer)),
    })
}

/// One certificate of a chain, and the line of the file in which it begins.
struct Link<'b> {
    line: usize,
    der: &'b CertificateDer<'static>,
    parsed: X509Certificate<'b>,
}

fn chain(blocks: &[Block]) -> Result<Vec<Link<'_>>, Problem> {
    let certificates = blocks.iter().filter_map(|block| match &block.content {
        Content::Certificate(der) => Some((block.line, der)),
        _ => None,
    });
    let mut chain = Vec::new();
    for (number, (line, der)) in (1..).zip(certificates) {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| {
            let contents = Contents::of(blocks);
            Problem::BadCertificate {
                number,
                line,
                what: error.to_string(),
                contents,
            }
        })?;
        chain.push(Link { line, der, parsed });
    }
    Ok(chain)
}

/// Returns the private key of a certificate file; an error if there is none, or more than one.
fn the_key(blocks: &[Block]) -> Result<PrivateKeyDer<'static>, Problem> {
    let mut keys = blocks.iter().filter_map(|block| match &block.content {
        Content::Key(key) => Some(key.clone_key()),
        _ => None,
    });
    let has_certificate = |block: &Block| matches!(block.content, Content::Certificate(_));
    match (keys.next(), keys.next()) {
        _ if !blocks.iter().any(has_certificate) => {
            Err(Problem::NoCertificate(Contents::of(blocks)))
        }
        (Some(key), None) => Ok(key),
        (None, _) => Err(Problem::NoKey(Contents::of(blocks))),
        (Some(_), Some(_)) => Err(Problem::SeveralKeys(Contents::of(blocks))),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
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

/// Converts a time of a certificate or revocation list; times before 1970 to the beginning of 1970.
pub(super) fn moment(time: x509_parser::time::ASN1Time) -> SystemTime {
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
