//! The files of ACME: the account, the certificates with their keys, and the order records.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use serde::{Serialize, de::DeserializeOwned};

use super::OrderRecord;
use crate::private_file;

/// Size limit in bytes of each file of the ACME account, a certificate or an order record that is
/// read.
const MOST_BYTES: u64 = 1 << 20;

/// A file of the ACME account, of a certificate or of an order record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {why}", path.display())]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    why: String,
}

/// The files that belong to one ACME directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the credentials of the ACME account; `None` if there is no account yet.
    pub(super) fn account<T: DeserializeOwned>(&self) -> Result<Option<T>, StoreError> {
        read_json(&self.folder.join("account.json"))
    }

    pub(super) fn keep_account(&self, credentials: &impl Serialize) -> Result<(), StoreError> {
        write_json(&self.folder.join("account.json"), credentials)
    }

    /// Returns the contents of the account file; `None` if there is no account yet.
    pub(super) fn account_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read_file(&self.folder.join("account.json"))
    }

    /// Writes an account that the peer has created to the account file.
    pub(super) fn take_account(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.folder.join("account.json");
        match serde_json::from_slice::<AccountCredentials>(bytes) {
            Ok(_credentials) => write(&path, bytes),
            Err(error) => Err(StoreError {
                what: "write",
                path,
                why: format!("the peer sent no valid account credentials: {error}"),
            }),
        }
    }

    /// Removes the account file, so that the next order creates a new account.
    pub(super) fn forget_account(&self) -> Result<(), StoreError> {
        let path = self.folder.join("account.json");
        fs::remove_file(&path).map_err(|error| StoreError {
            what: "remove",
            path,
            why: error.to_string(),
        })
    }

    /// Returns the order record of a certificate, which is empty if there is none yet. The caller
    /// must report a record that cannot be read, because its contents are lost.
    pub(super) fn record(&self, certificate: &Path) -> Result<OrderRecord, StoreError> {
        read_json(&self.record_file(certificate)).map(Option::unwrap_or_default)
    }

    pub(super) fn keep_record(
        &self,
        certificate: &Path,
        record: &OrderRecord,
    ) -> Result<(), StoreError> {
        write_json(&self.record_file(certificate), record)
    }

    fn record_file(&self, certificate: &Path) -> PathBuf {
        let name = certificate.file_stem().unwrap_or_default();
        let mut name = name.to_owned();
        name.push(".json");
        self.folder.join("orders").join(name)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(text) = read_file(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&text).map_err(|error| unreadable(path, &error))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match private_file::read(path, MOST_BYTES) {
        Err(private_file::PrivateFileError::Missing) => Ok(None),
        text => text.map(Some).map_err(|error| unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError {
        what: "read",
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| StoreError {
        what: "write",
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    write(path, &text)
}

/// Replaces a file atomically by one of mode 0600, and creates its folders (mode 0700) if needed:
/// after a crash either the old or the new file exists.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes).map_err(|error| StoreError {
        what: "write",
        path: path.to_owned(),
        why: match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => format!(
                "{error}; the agent's user must be able to write `acme.storage`, and the service \
                 unit must let it"
            ),
            _ => error.to_string(),
        },
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    // The draft is the temporary file that is renamed to `path` at the end. One that an earlier
    // crash left may have another mode, so it is removed.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The rename survives a power failure only once the folder is synced.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/key.pem");
        write(&path, b"old").expect("written");
        // A crash has left a draft, the temporary file that is renamed to `path` at the end.
        fs::write(folder.path().join("a/b/key.pem.new"), "half").expect("written");
        write(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert!(!folder.path().join("a/b/key.pem.new").exists());
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_damaged_one_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().to_owned());
        let certificate = Path::new("/x/certificates/www.v2.pem");
        assert_eq!(
            store.record(certificate).expect("none"),
            OrderRecord::default()
        );
        let record = OrderRecord {
            failures: 3,
            began: vec![1, 2],
            ..OrderRecord::default()
        };
        store.keep_record(certificate, &record).expect("written");
        assert_eq!(store.record(certificate).expect("read"), record);
        write(&folder.path().join("orders/www.v2.json"), b"{").expect("written");
        let error = store.record(certificate).expect_err("damaged").to_string();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
