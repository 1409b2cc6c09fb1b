//! The secret that the hosts of a pair share: one key and its certificate, in one file.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use rustls::{
    crypto::aws_lc_rs::default_provider as provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::private_file::{self, Account, PrivateFileError};

/// Size limit of the secret's file in bytes: more than a key and its certificate take.
const MAX_FILE_BYTES: u64 = 1 << 16;
/// The validity period that is written into the certificate: ten years. Nothing checks it: the
/// hosts compare the certificate with their own instead of validating it, so that a host with a
/// wrong clock can still connect to its peer.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The secret that the hosts of a pair share. Both hosts present the same certificate and prove
/// that they have its key.
pub struct Secret {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Why the file with the pair's secret could not be created or read.
#[derive(Debug, thiserror::Error)]
#[error("the pair's secret {}: {problem}", path.display())]
pub struct SecretError {
    /// The path of the secret's file.
    pub path: PathBuf,
    /// What is wrong with the secret's file.
    #[source]
    pub problem: SecretProblem,
}

/// What is wrong with the file of the pair's secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretProblem {
    /// The secret's file does not exist.
    #[error("there is no such file; run `lb peer init` on one host and copy the file to the other")]
    Missing,
    /// The secret's file exists already, and the caller did not ask to replace it.
    #[error(
        "the file exists, and the peer has the same one: only --force replaces it, and the peer \
         then needs the new one too"
    )]
    Exists,
    /// A file operation failed.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Other users could have read or changed the secret's file, or the agent cannot read it.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// The secret's file does not hold exactly one certificate and one key as PEM.
    #[error("{0}; it is not a file of `lb peer init`: copy it from the other host again")]
    Content(String),
    /// The key or its certificate could not be generated.
    #[error("cannot generate the key and its certificate: {0}")]
    Make(#[source] rcgen::Error),
}

impl Secret {
    /// Returns the certificate and key in the type that rustls uses.
    pub(super) fn certified_key(&self) -> Result<CertifiedKey, rustls::Error> {
        CertifiedKey::from_der(
            vec![self.certificate.clone()],
            self.key.clone_key(),
            &provider(),
        )
    }

    /// Creates a new secret and writes it to a file of mode 0600. An existing file is replaced, in
    /// one step, only if `replace` is set.
    ///
    /// # Errors
    /// The file exists and `replace` is not set, or it cannot be written.
    pub fn create(path: &Path, replace: bool) -> Result<Self, SecretError> {
        make()
            .and_then(|text| {
                write(path, &text, replace)?;
                parse(text.as_bytes())
            })
            .map_err(|problem| about(path, problem))
    }

    /// Reads the secret from its file, and refuses a file that other users could have read or
    /// changed.
    ///
    /// # Errors
    /// The file is missing, accessible to other users, owned by another user, or not a valid
    /// secret.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        parse_read(path, private_file::read(path, MAX_FILE_BYTES))
    }

    /// Reads the secret as [`Self::read`] does, but for an agent that runs as `agent`: the file
    /// must belong to root or to that user.
    ///
    /// # Errors
    /// As those of [`Self::read`].
    pub(crate) fn read_as(path: &Path, agent: Account) -> Result<Self, SecretError> {
        parse_read(path, private_file::read_as(path, MAX_FILE_BYTES, agent))
    }

    /// Returns the shortened SHA-256 of the certificate, which is the same on both hosts and need
    /// not be kept secret.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.certificate);
        let short = hash.as_ref().iter().take(8);
        short.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn about(path: &Path, problem: SecretProblem) -> SecretError {
    SecretError {
        path: path.to_owned(),
        problem,
    }
}

/// Generates a key and its self-signed certificate. Returns both as PEM.
fn make() -> Result<String, SecretProblem> {
    let make = || {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = rcgen::CertificateParams::new(vec!["lb-peer".to_owned()])?;
        let now = SystemTime::now();
        params.not_before = now.into();
        params.not_after = (now + LIFETIME).into();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "lb peer");
        let certificate = params.self_signed(&key)?;
        Ok(certificate.pem() + &key.serialize_pem())
    };
    make().map_err(SecretProblem::Make)
}

fn write(path: &Path, text: &str, replace: bool) -> Result<(), SecretProblem> {
    if !replace {
        return write_new(path, text).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SecretProblem::Exists,
            _ => SecretProblem::Io(error),
        });
    }
    replace_by(&draft_of(path), path, text).map_err(SecretProblem::Io)
}

fn replace_by(draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    // Remove a temporary file that a crash left behind.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(draft, text)?;
    let renamed = fs::rename(draft, path);
    if renamed.is_err() {
        // The temporary file contains a key, so it is removed. If removing it fails, too, the first
        // error is the one to report.
        let _removed = fs::remove_file(draft);
    }
    renamed
}

/// Returns the path of the temporary file. It is in the same folder as `path`, because a rename
/// works only within one file system.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // A partly written secret is removed; if removing it fails, too, the first error is still
        // the one to report.
        let _removed = fs::remove_file(path);
    }
    written
}

fn parse_read(path: &Path, read: Result<Vec<u8>, PrivateFileError>) -> Result<Secret, SecretError> {
    read.map_err(|error| match error {
        PrivateFileError::Missing => SecretProblem::Missing,
        error => SecretProblem::File(error),
    })
    .and_then(|text| parse(&text))
    .map_err(|problem| about(path, problem))
}

fn parse(text: &[u8]) -> Result<Secret, SecretProblem> {
    let refuse = |what: String| SecretProblem::Content(what);
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| refuse(format!("it is not PEM ({error})")))?;
    let Ok([certificate]) = <[_; 1]>::try_from(certificates) else {
        return Err(refuse(
            "it does not have exactly one certificate".to_owned(),
        ));
    };
    let key = PrivateKeyDer::from_pem_slice(text)
        .map_err(|error| refuse(format!("it has no private key ({error})")))?;
    let secret = Secret { certificate, key };
    secret
        .certified_key()
        .and_then(|pair| pair.keys_match())
        .map_err(|error| refuse(format!("its key and certificate do not match ({error})")))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("peer.pem")
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn what_was_made_is_read_on_both_hosts() {
        let folder = folder();
        let made = Secret::create(&file(&folder), false).expect("made");
        let mode = fs::metadata(file(&folder)).expect("there").mode() & 0o7777;
        assert_eq!(mode, 0o600);
        let copy = folder.path().join("copy.pem");
        fs::copy(file(&folder), &copy).expect("copied");
        let read = Secret::read(&copy).expect("read");
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert_eq!(read.fingerprint().len(), 16);
    }

    #[test]
    fn a_secret_is_replaced_only_by_force() {
        let folder = folder();
        let first = Secret::create(&file(&folder), false).expect("made");
        let error = Secret::create(&file(&folder), false).expect_err("it is there");
        assert!(error.to_string().contains("--force"), "{error}");
        let kept = Secret::read(&file(&folder)).expect("read").fingerprint();
        assert_eq!(kept, first.fingerprint());
        let second = Secret::create(&file(&folder), true).expect("replaced");
        assert_ne!(second.fingerprint(), first.fingerprint());
        let left = fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        let folder = folder();
        Secret::create(&file(&folder), false).expect("made");
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(file(&folder), permissions).expect("chmod");
            match Secret::read(&file(&folder)) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => {
                    assert!(!good, "{mode:o}");
                    assert!(error.to_string().contains("chmod 600 /"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_secret_of_another_user_is_refused() {
        let folder = folder();
        Secret::create(&file(&folder), false).expect("made");
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(file(&folder), Some(4242), None).expect("chown");
        let error = Secret::read(&file(&folder)).expect_err("somebody else's");
        assert!(error.to_string().contains("user 4242"), "{error}");
    }

    #[test]
    fn a_draft_that_a_crash_left_does_not_keep_a_secret_from_being_replaced() {
        let folder = folder();
        let first = Secret::create(&file(&folder), false).expect("made");
        fs::write(draft_of(&file(&folder)), "half a se").expect("a draft");
        let second = Secret::create(&file(&folder), true).expect("replaced");
        assert_ne!(second.fingerprint(), first.fingerprint());
        let read = Secret::read(&file(&folder)).expect("read");
        assert_eq!(read.fingerprint(), second.fingerprint());
        let left = fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
    }

    #[test]
    fn a_secret_that_cannot_be_replaced_leaves_no_draft() {
        let folder = folder();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).expect("a folder");
        Secret::create(&taken, true).expect_err("a folder is in its place");
        assert!(!draft_of(&taken).exists());
    }

    #[test]
    fn an_invalid_secret_is_refused_with_a_sentence() {
        let folder = folder();
        let error = Secret::read(&file(&folder)).expect_err("missing");
        assert!(error.to_string().contains("lb peer init"), "{error}");
        let error = Secret::read(folder.path()).expect_err("a folder");
        assert!(error.to_string().contains("not a regular file"), "{error}");
        let (one, other) = (make().expect("made"), make().expect("made"));
        let key_at = one.find("-----BEGIN PRIVATE").expect("a key");
        let other_key = &other[other.find("-----BEGIN PRIVATE").expect("a key")..];
        for (text, said) in [
            ("", "exactly one certificate"),
            (&one[..key_at], "no private key"),
            (&one[key_at..], "exactly one certificate"),
            (&(one.clone() + &other), "exactly one certificate"),
            (&(one[..key_at].to_owned() + other_key), "do not match"),
        ] {
            let path = file(&folder);
            let _old = fs::remove_file(&path);
            write_new(&path, text).expect("written");
            let error = Secret::read(&path).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("BEGIN"), "no secret in {error}");
        }
    }
}
