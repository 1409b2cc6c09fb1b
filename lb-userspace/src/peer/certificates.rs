//! Compares the certificates of both hosts, and replaces older ones by the peer's newer ones.
//!
//! Each host announces the certificates in its files. Where both have a file of the same path, and the
//! peer's certificate begins later, is still valid and covers all names of the local one, it is
//! requested and replaces the local file. Private keys travel with it: both hosts must have
//! `share_certificates` set, a file is sent only if it was announced, and accepted only if it was
//! requested.

mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use file::FileError;

/// Highest number of certificates that a host announces.
const MOST_SHOWN: usize = 1024;

/// The content of a certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateFacts {
    /// The names that it is for.
    pub names: BTreeSet<String>,
    /// When it begins, in seconds since 1970.
    pub not_before: u64,
    /// When it ends, in seconds since 1970.
    pub not_after: u64,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Reads the first certificate of a PEM file, whose key must be in it too.
pub type Inspect = fn(&[u8]) -> Result<CertificateFacts, String>;

/// A message about certificates.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum CertificateWord {
    /// All certificates of the host, by path of the file.
    Have(BTreeMap<String, CertificateFacts>),
    /// Requests the file at that path, if it still holds the certificate with that fingerprint.
    Want(String, [u8; 32]),
    /// The file at that path: certificate chain and key.
    File(String, FileBytes),
}

/// The bytes of a certificate file. They include a private key, so they are never shown.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct FileBytes(Vec<u8>);

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileBytes({} bytes)", self.0.len())
    }
}

/// The certificates of both hosts.
#[derive(Clone, Debug)]
pub struct Certificates {
    shares: bool,
    inspect: Inspect,
    ours: BTreeMap<String, CertificateFacts>,
    /// The peer's certificates by path; `None` while the link is down.
    theirs: Option<BTreeMap<String, CertificateFacts>>,
    /// Files that both hosts obtain in another way: they are compared, but not requested.
    obtained: BTreeSet<String>,
    /// Requested files that have not arrived, and the certificate that each should hold.
    wanted: BTreeMap<String, CertificateFacts>,
}

/// The result of a message of the peer.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// The messages to send in reply.
    pub say: Vec<CertificateWord>,
    /// Files that were replaced: their certificates must be loaded again.
    pub replaced: Vec<PathBuf>,
}

/// How two hosts differ in the certificate of one file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// The file.
    pub path: String,
    /// The kind of difference.
    pub kind: DifferenceKind,
}

/// How the certificates of two hosts differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only this host has the file.
    OnlyHere,
    /// Only the peer has the file.
    OnlyThere,
    /// This host's certificate is newer.
    NewerHere,
    /// The peer's certificate is newer.
    NewerThere,
    /// The certificates differ and begin at the same time.
    Other,
}

impl Certificates {
    /// Returns an empty state. `shares`: whether this host sends and accepts certificates.
    #[must_use]
    pub fn new(shares: bool, inspect: Inspect) -> Self {
        Self {
            shares,
            inspect,
            ours: BTreeMap::new(),
            theirs: None,
            obtained: BTreeSet::new(),
            wanted: BTreeMap::new(),
        }
    }

    /// Sets the files of certificates that the agents obtain by ACME.
    pub fn set_obtained(&mut self, files: &[&Path]) {
        let files = files.iter().filter_map(|file| file.to_str());
        self.obtained = files.map(str::to_owned).collect();
    }

    /// Sets the certificates of this host. Returns the message for the peer, if they have changed.
    pub fn have(
        &mut self,
        ours: impl IntoIterator<Item = (PathBuf, CertificateFacts)>,
    ) -> Option<CertificateWord> {
        let text =
            |(path, facts): (PathBuf, _)| Some((path.into_os_string().into_string().ok()?, facts));
        let ours = ours.into_iter().filter_map(text).take(MOST_SHOWN);
        let ours: BTreeMap<_, _> = ours.collect();
        if ours == self.ours {
            return None;
        }
        self.ours = ours;
        self.theirs.is_some().then(|| self.told())
    }

    /// Records that the link came up. Returns the message for the peer.
    pub fn link_up(&mut self) -> CertificateWord {
        self.theirs = Some(BTreeMap::new());
        self.wanted.clear();
        self.told()
    }

    /// Records that the link went down, and forgets the peer's certificates.
    pub fn link_down(&mut self) {
        self.theirs = None;
        self.wanted.clear();
    }

    /// Handles a message of the peer. Reads and writes certificate files, where they are shared.
    pub fn heard(&mut self, word: CertificateWord, now: SystemTime) -> Heard {
        let mut heard = Heard::default();
        match word {
            CertificateWord::Have(theirs) => heard.say = self.compare(theirs, now),
            CertificateWord::Want(path, fingerprint) => {
                heard.say.extend(self.give(path, fingerprint));
            }
            CertificateWord::File(path, bytes) => heard.replaced.extend(self.take(&path, &bytes)),
        }
        heard
    }

    /// Returns the differences between the hosts; none while the link is down.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let Some(theirs) = &self.theirs else {
            return Vec::new();
        };
        let paths: BTreeSet<_> = self.ours.keys().chain(theirs.keys()).collect();
        let differences = paths.into_iter().filter_map(|path| {
            let kind = difference(self.ours.get(path), theirs.get(path))?;
            let path = path.clone();
            Some(Difference { path, kind })
        });
        differences.collect()
    }

    fn told(&self) -> CertificateWord {
        CertificateWord::Have(self.ours.clone())
    }

    /// Compares the certificates of both hosts. Returns the requests to send.
    fn compare(
        &mut self,
        theirs: BTreeMap<String, CertificateFacts>,
        now: SystemTime,
    ) -> Vec<CertificateWord> {
        let mut wants = Vec::new();
        for (path, newer) in &theirs {
            let ours = self.ours.get(path);
            let shares = self.shares && !self.obtained.contains(path);
            if shares && ours.is_some_and(|ours| ours.gives_way_to(newer, now)) {
                self.wanted.insert(path.clone(), newer.clone());
                wants.push(CertificateWord::Want(path.clone(), newer.fingerprint));
            }
        }
        self.theirs = Some(theirs);
        wants
    }

    /// Returns a file that this host announced, if it still holds the announced certificate.
    fn give(&self, path: String, fingerprint: [u8; 32]) -> Option<CertificateWord> {
        let told = self.ours.get(&path)?;
        if !self.shares || told.fingerprint != fingerprint {
            tracing::info!(file = %path, "the peer requested a file that this host does not share");
            return None;
        }
        match file::read(Path::new(&path), told, self.inspect) {
            Ok(bytes) => {
                tracing::info!(file = %path, "sent a certificate to the peer");
                Some(CertificateWord::File(path, FileBytes(bytes)))
            }
            Err(error) => {
                tracing::warn!(file = %path, %error, "cannot send a certificate to the peer");
                None
            }
        }
    }

    /// Replaces a file that was requested.
    fn take(&mut self, path: &str, bytes: &FileBytes) -> Option<PathBuf> {
        let Some(wanted) = self.wanted.remove(path) else {
            tracing::warn!(file = %path, "the peer sent a file that was not requested");
            return None;
        };
        let target = Path::new(path);
        match file::replace(target, &bytes.0, &wanted, self.inspect) {
            Ok(()) => {
                tracing::info!(file = %path, "installed a certificate from the peer");
                Some(target.to_owned())
            }
            Err(error) => {
                tracing::warn!(file = %path, %error, "cannot install a certificate from the peer");
                None
            }
        }
    }
}

impl CertificateFacts {
    /// Whether `newer` can replace this certificate: it begins later, is still valid, and has all its
    /// names.
    fn gives_way_to(&self, newer: &Self, now: SystemTime) -> bool {
        newer.not_before > self.not_before
            && newer.names.is_superset(&self.names)
            && SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(newer.not_after))
                .is_some_and(|end| end > now)
    }
}

fn difference(
    ours: Option<&CertificateFacts>,
    theirs: Option<&CertificateFacts>,
) -> Option<DifferenceKind> {
    match (ours, theirs) {
        (Some(_), None) => Some(DifferenceKind::OnlyHere),
        (None, Some(_)) => Some(DifferenceKind::OnlyThere),
        (Some(ours), Some(theirs)) if ours.fingerprint != theirs.fingerprint => {
            Some(match ours.not_before.cmp(&theirs.not_before) {
                std::cmp::Ordering::Less => DifferenceKind::NewerThere,
                std::cmp::Ordering::Equal => DifferenceKind::Other,
                std::cmp::Ordering::Greater => DifferenceKind::NewerHere,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
