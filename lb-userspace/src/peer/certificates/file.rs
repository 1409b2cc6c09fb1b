//! Reads certificate files for the peer, and replaces local ones atomically.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::{CertificateFacts, Inspect};

/// Size limit of a certificate file in bytes: more than any chain and key need, and small enough
/// for one message over the link to the peer.
const MAX_BYTES: u64 = 256 << 10;

/// Why a certificate file was not sent or accepted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file operation failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is a symbolic link, so another program manages it.
    #[error("it is a symbolic link, so another program manages it; let that program renew it here")]
    Link,
    /// The path is not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file is larger than any certificate file needs to be.
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLong,
    /// The HTTP front could not serve the file, for the reason given.
    #[error("it cannot be used: {0}")]
    Unfit(String),
    /// The file does not hold the certificate that was announced.
    #[error("it no longer holds the announced certificate")]
    Another,
}

/// Reads a certificate file, which must hold the certificate `told` that this host announced.
pub(super) fn read(
    path: &Path,
    told: &CertificateFacts,
    inspect: Inspect,
) -> Result<Vec<u8>, FileError> {
    // The type is checked before the file is opened: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut bytes = Vec::new();
    let length = File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if length as u64 > MAX_BYTES {
        return Err(FileError::TooLong);
    }
    verify(&bytes, told, inspect)?;
    Ok(bytes)
}

/// Replaces a file atomically by one that holds the certificate `wanted`. Owner and the owner's
/// permissions stay; other users get no permissions.
pub(super) fn replace(
    path: &Path,
    bytes: &[u8],
    wanted: &CertificateFacts,
    inspect: Inspect,
) -> Result<(), FileError> {
    verify(bytes, wanted, inspect)?;
    let old = fs::symlink_metadata(path)?;
    if old.is_symlink() {
        return Err(FileError::Link);
    }
    if !old.is_file() {
        return Err(FileError::NotAFile);
    }
    let draft = draft_of(path);
    // Remove a temporary file that a crash left behind.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let replaced = write(&draft, bytes, &old).and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        // The temporary file contains a key, so it is removed. If removing it fails, too, the first
        // error is the one to report.
        let _removed = fs::remove_file(&draft);
    }
    Ok(replaced?)
}

fn verify(bytes: &[u8], expected: &CertificateFacts, inspect: Inspect) -> Result<(), FileError> {
    let found = inspect(bytes).map_err(FileError::Unfit)?;
    if found == *expected {
        Ok(())
    } else {
        Err(FileError::Another)
    }
}

fn write(draft: &Path, bytes: &[u8], old: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    // Only the owner gets permissions, whatever the mode of the old file was.
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o700 | 0o400))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Returns the path of the temporary file. It is in the same folder as `path`, because a rename
/// works only within one file system.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
