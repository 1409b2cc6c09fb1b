//! Certificates of both hosts: who has which, and the newer one for the host that has it not.
//!
//! Each host tells the other what is in its certificate files. Where both have a file of the same
//! path, and the peer's certificate begins later, is still valid and is for all the names that ours
//! is for, it is asked for, and put in place of ours. Private keys travel with it: both hosts must
//! have said `share_certificates`, and a file is only ever given that was told of, and taken that
//! was asked for.

mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use file::FileError;

/// Certificates that a host tells of at most.
const MOST_SHOWN: usize = 1024;

/// What a certificate says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CertificateFacts {
    /// The names that it is for.
    pub names: BTreeSet<String>,
    /// When it begins, in seconds since 1970.
    pub not_before: u64,
    /// When it ends, in seconds since 1970.
    pub not_after: u64,
    /// The SHA-256 of it.
    pub fingerprint: [u8; 32],
}

/// Reads the first certificate of a PEM file, whose key must be in it too.
pub type Inspect = fn(&[u8]) -> Result<CertificateFacts, String>;

/// What the hosts say about certificates.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum CertificateWord {
    /// All that the host has, by the file's path.
    Have(BTreeMap<String, CertificateFacts>),
    /// The file of that path, if it still holds the certificate with that fingerprint.
    Want(String, [u8; 32]),
    /// The file of that path, certificate chain and key.
    File(String, FileBytes),
}

/// The bytes of a certificate file. There is a private key among them: they are never shown.
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
    /// `None` while the link is down.
    theirs: Option<BTreeMap<String, CertificateFacts>>,
    /// Files that are brought to both hosts in another way: they are compared, and not asked for.
    obtained: BTreeSet<String>,
    /// What was asked for and has not come.
    wanted: BTreeMap<String, CertificateFacts>,
}

/// What came of a word of the peer.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// What is to be said in return.
    pub say: Vec<CertificateWord>,
    /// Files that were replaced: certificates are to be loaded again.
    pub replaced: Vec<PathBuf>,
}

/// How two hosts differ in the certificate of one file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// The file.
    pub path: String,
    /// In what.
    pub kind: DifferenceKind,
}

/// In what two hosts differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only this host has the file.
    OnlyHere,
    /// Only the peer has it.
    OnlyThere,
    /// This host's certificate is newer.
    NewerHere,
    /// The peer's is newer.
    NewerThere,
    /// Both are as new, and they are two.
    Other,
}

impl Certificates {
    /// Nothing is known yet. `shares`: whether this host gives and takes certificates.
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

    /// These files are of certificates that the agents obtain.
    pub fn set_obtained(&mut self, files: &[&Path]) {
        let files = files.iter().filter_map(|file| file.to_str());
        self.obtained = files.map(str::to_owned).collect();
    }

    /// This host has these certificates now. To be told to the peer, when it is news.
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

    /// The link came up: what is to be told.
    pub fn link_up(&mut self) -> CertificateWord {
        self.theirs = Some(BTreeMap::new());
        self.wanted.clear();
        self.told()
    }

    /// The link went down: what the peer has is not known any more.
    pub fn link_down(&mut self) {
        self.theirs = None;
        self.wanted.clear();
    }

    /// The peer said something. Reads and writes certificate files, where they are shared.
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

    /// In which files the hosts differ; nothing while the link is down.
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

    /// What is to be asked for.
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

    /// A file that this host told of, while it holds what was told.
    fn give(&self, path: String, fingerprint: [u8; 32]) -> Option<CertificateWord> {
        let told = self.ours.get(&path)?;
        if !self.shares || told.fingerprint != fingerprint {
            tracing::info!("the peer asked for {path}, which this host does not share");
            return None;
        }
        match file::read(Path::new(&path), told, self.inspect) {
            Ok(bytes) => {
                tracing::info!("gave {path} to the peer");
                Some(CertificateWord::File(path, FileBytes(bytes)))
            }
            Err(error) => {
                tracing::warn!("did not give {path} to the peer: {error}");
                None
            }
        }
    }

    /// Replaces a file that was asked for.
    fn take(&mut self, path: &str, bytes: &FileBytes) -> Option<PathBuf> {
        let Some(wanted) = self.wanted.remove(path) else {
            tracing::warn!("the peer sent {path}, which nobody asked for");
            return None;
        };
        let target = Path::new(path);
        match file::replace(target, &bytes.0, &wanted, self.inspect) {
            Ok(()) => {
                tracing::info!("installed {path} from the peer");
                Some(target.to_owned())
            }
            Err(error) => {
                tracing::warn!("did not take {path} over from the peer: {error}");
                None
            }
        }
    }
}

impl CertificateFacts {
    /// Whether `newer` can stand in for it and is newer.
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
