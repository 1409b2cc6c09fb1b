//! Compares the certificates of both hosts of a pair, and replaces a host's certificate by a newer
//! one of its peer.
//!
//! Each host announces the certificates in its files. If both hosts have a file at the same path,
//! and the peer's certificate begins later, is still valid and covers all names of the local
//! certificate, the local host requests the peer's file and replaces its own by it. The file has
//! the private key, too: both hosts must have `share_certificates` set, a file is sent only if it
//! was announced, and accepted only if it was requested.

mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use file::FileError;

/// Highest number of certificates that a host announces to its peer.
const MOST_SHOWN: usize = 1024;

/// What a certificate says, as the hosts compare it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateFacts {
    /// The DNS names that the certificate is for.
    pub names: BTreeSet<String>,
    /// The beginning of the certificate's validity, in seconds since 1970.
    pub not_before: u64,
    /// The end of the certificate's validity, in seconds since 1970.
    pub not_after: u64,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// A function that reads the first certificate of a PEM file, which must have its key, too. The
/// error says why the file cannot be used.
pub type Inspect = fn(&[u8]) -> Result<CertificateFacts, String>;

/// A message about certificate files from one host to the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum CertificateMessage {
    /// Announces all certificates of the sending host, by the path of the file.
    Have(BTreeMap<String, CertificateFacts>),
    /// Requests the file at this path, provided that it still holds the certificate with this
    /// fingerprint.
    Want(String, [u8; 32]),
    /// Sends the contents of the file at this path: certificate chain and key.
    File(String, FileBytes),
}

/// The bytes of a certificate file. They include a private key, so `Debug` shows only their number.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct FileBytes(Vec<u8>);

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileBytes({} bytes)", self.0.len())
    }
}

/// What this host knows of its own certificates and of the peer's.
#[derive(Clone, Debug)]
pub struct Certificates {
    shares: bool,
    inspect: Inspect,
    ours: BTreeMap<String, CertificateFacts>,
    /// The peer's certificates, by the path of the file; `None` while the link to the peer is down.
    theirs: Option<BTreeMap<String, CertificateFacts>>,
    /// The paths of files that the agents obtain by ACME. They are compared, but not requested from
    /// the peer.
    obtained: BTreeSet<String>,
    /// The paths of requested files that have not arrived, and the certificate that each file
    /// should hold.
    wanted: BTreeMap<String, CertificateFacts>,
}

/// What follows from a message of the peer about certificate files.
#[derive(Debug, Default, PartialEq)]
pub struct Received {
    /// The messages to send to the peer in reply.
    pub replies: Vec<CertificateMessage>,
    /// The paths of files that were replaced, whose certificates must be loaded again.
    pub replaced: Vec<PathBuf>,
}

/// How the hosts differ in the certificate of one file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// The path of the certificate file.
    pub path: String,
    /// In what way the certificates of the two hosts differ.
    pub kind: DifferenceKind,
}

/// In what way the certificates of both hosts differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only this host has a file at this path.
    OnlyHere,
    /// Only the peer has a file at this path.
    OnlyThere,
    /// This host's certificate is newer than the peer's.
    NewerHere,
    /// The peer's certificate is newer than this host's.
    NewerThere,
    /// The certificates differ, but their validity begins at the same time.
    Other,
}

impl Certificates {
    /// Creates the state without certificates. `shares` is the setting `share_certificates`:
    /// whether this host sends certificate files to its peer and requests the peer's.
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

    /// Sets the files of certificates that the agents obtain by ACME, which are compared but not
    /// exchanged here.
    pub fn set_obtained(&mut self, files: &[&Path]) {
        let files = files.iter().filter_map(|file| file.to_str());
        self.obtained = files.map(str::to_owned).collect();
    }

    /// Sets the certificates of this host. If they have changed and the link to the peer is up,
    /// returns the message that announces them to the peer.
    pub fn have(
        &mut self,
        ours: impl IntoIterator<Item = (PathBuf, CertificateFacts)>,
    ) -> Option<CertificateMessage> {
        let text =
            |(path, facts): (PathBuf, _)| Some((path.into_os_string().into_string().ok()?, facts));
        let ours = ours.into_iter().filter_map(text).take(MOST_SHOWN);
        let ours: BTreeMap<_, _> = ours.collect();
        if ours == self.ours {
            return None;
        }
        self.ours = ours;
        self.theirs.is_some().then(|| self.announcement())
    }

    /// Records that the link to the peer came up. Returns the message that announces this host's
    /// certificates to the peer.
    pub fn link_up(&mut self) -> CertificateMessage {
        self.theirs = Some(BTreeMap::new());
        self.wanted.clear();
        self.announcement()
    }

    /// Records that the link to the peer went down, and forgets the peer's certificates.
    pub fn link_down(&mut self) {
        self.theirs = None;
        self.wanted.clear();
    }

    /// Handles a message from the peer. If this host has `share_certificates` set, this may read a
    /// certificate file to send it, or replace one by the peer's.
    pub fn receive(&mut self, message: CertificateMessage, now: SystemTime) -> Received {
        let mut received = Received::default();
        match message {
            CertificateMessage::Have(theirs) => received.replies = self.compare(theirs, now),
            CertificateMessage::Want(path, fingerprint) => {
                received.replies.extend(self.give(path, fingerprint));
            }
            CertificateMessage::File(path, bytes) => {
                received.replaced.extend(self.take(&path, &bytes));
            }
        }
        received
    }

    /// Returns the differences between the certificates of both hosts; none while the link to the
    /// peer is down.
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

    fn announcement(&self) -> CertificateMessage {
        CertificateMessage::Have(self.ours.clone())
    }

    /// Compares the peer's certificates with this host's. Returns the messages that request the
    /// peer's newer files; none if this host does not have `share_certificates` set.
    fn compare(
        &mut self,
        theirs: BTreeMap<String, CertificateFacts>,
        now: SystemTime,
    ) -> Vec<CertificateMessage> {
        let mut wants = Vec::new();
        for (path, newer) in &theirs {
            let ours = self.ours.get(path);
            let shares = self.shares && !self.obtained.contains(path);
            if shares && ours.is_some_and(|ours| ours.gives_way_to(newer, now)) {
                self.wanted.insert(path.clone(), newer.clone());
                wants.push(CertificateMessage::Want(path.clone(), newer.fingerprint));
            }
        }
        self.theirs = Some(theirs);
        wants
    }

    /// Returns the message with a file that this host announced, if this host has
    /// `share_certificates` set and the file still holds the announced certificate with this
    /// `fingerprint`; otherwise `None`.
    fn give(&self, path: String, fingerprint: [u8; 32]) -> Option<CertificateMessage> {
        let told = self.ours.get(&path)?;
        if !self.shares || told.fingerprint != fingerprint {
            tracing::info!(file = %path, "the peer requested a file that this host does not share");
            return None;
        }
        match file::read(Path::new(&path), told, self.inspect) {
            Ok(bytes) => {
                tracing::info!(file = %path, "sent a certificate to the peer");
                Some(CertificateMessage::File(path, FileBytes(bytes)))
            }
            Err(error) => {
                tracing::warn!(file = %path, %error, "cannot send a certificate to the peer");
                None
            }
        }
    }

    /// Replaces a local file by the one that was requested from the peer. Returns the file's path
    /// if it was replaced.
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
    /// Returns whether `newer` can replace this certificate: it begins later, is still valid, and
    /// covers all names of this one.
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
