//! Reads files that hold a secret, and refuses files that other users can read or change.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

/// Why a file that holds a secret was refused or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// There is no file at the path.
    #[error("there is no such file")]
    Missing,
    /// The agent has no search permission on a directory of the file's path.
    #[error(
        "user {us} has no search permission on a directory of its path; `namei -l {}` shows which",
        path.display()
    )]
    Folder {
        /// The user and group that the agent runs as.
        us: Account,
        /// The path of the file.
        path: PathBuf,
    },
    /// The agent has no permission to read the file.
    #[error("user {us} has no permission to read it; run: {}", hand_to(us, path))]
    Unreadable {
        /// The user and group that the agent runs as.
        us: Account,
        /// The path of the file.
        path: PathBuf,
    },
    /// A system call failed while the file was read.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// The path is that of a directory or of another file that is not regular.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file's mode gives access to other users than the owner.
    #[error(
        "its mode is {mode:04o}, which gives access to other users; run: chmod 600 {}",
        path.display()
    )]
    Open {
        /// The permission bits of the file.
        mode: u32,
        /// The path of the file.
        path: PathBuf,
    },
    /// The file belongs to a user who is neither root nor the agent's user, and who could change
    /// it.
    #[error(
        "it belongs to user {owner}, not to root or to user {us}, which lb runs as; run: {}",
        hand_to(us, path)
    )]
    Owner {
        /// The user and group that own the file.
        owner: Account,
        /// The user and group that the agent runs as.
        us: Account,
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is longer than any valid secret can be.
    #[error("it has more than {most} bytes, so it is not a valid file of this kind")]
    TooLong {
        /// The maximum length of the file, in bytes.
        most: u64,
    },
}

/// A user and a group. Displayed as the user's name, or as the user's ID if there is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    user: Uid,
    group: Gid,
}

impl Account {
    /// Creates an account from the IDs of a user and a group.
    pub(crate) fn new(user: Uid, group: Gid) -> Self {
        Self { user, group }
    }

    fn ours() -> Self {
        Self {
            user: geteuid(),
            group: getegid(),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&user_name(self.user))
    }
}

/// Returns the name of a user, or the ID as text if this host has no user with that ID.
#[must_use]
pub(crate) fn user_name(user: Uid) -> String {
    match User::from_uid(user) {
        Ok(Some(found)) => found.name,
        Ok(None) | Err(_) => user.to_string(),
    }
}

/// Returns the name of a group, or the ID as text if this host has no group with that ID.
#[must_use]
pub(crate) fn group_name(group: Gid) -> String {
    match Group::from_gid(group) {
        Ok(Some(found)) => found.name,
        Ok(None) | Err(_) => group.to_string(),
    }
}

fn hand_to(account: &Account, path: &Path) -> String {
    let group = group_name(account.group);
    format!("chown {account}:{group} {}", path.display())
}

/// Reads a file with a secret, which may have at most `most` bytes. The file must belong to root or
/// to the agent's user, and its mode must give no access to other users.
///
/// # Errors
/// The file does not meet these conditions, or it cannot be read.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, PrivateFileError> {
    read_as(path, most, Account::ours())
}

/// Reads a file as [`read`] does, for an agent that runs as `agent`: the file must belong to root
/// or to that user. With this, root can examine the files of an agent that runs as another user.
///
/// # Errors
/// As those of [`read`].
pub(crate) fn read_as(path: &Path, most: u64, agent: Account) -> Result<Vec<u8>, PrivateFileError> {
    // The type is checked before the file is opened: opening a FIFO blocks until its other end is
    // opened.
    if !fs::metadata(path)
        .map_err(|error| unseen(error, path))?
        .is_file()
    {
        return Err(PrivateFileError::NotAFile);
    }
    let file = File::open(path).map_err(|error| unopened(error, path))?;
    judge(&file.metadata().map_err(PrivateFileError::Io)?, path, agent)?;
    let mut text = Vec::new();
    let length = file
        .take(most + 1)
        .read_to_end(&mut text)
        .map_err(PrivateFileError::Io)?;
    if length as u64 > most {
        return Err(PrivateFileError::TooLong { most });
    }
    Ok(text)
}

fn judge(metadata: &fs::Metadata, path: &Path, agent: Account) -> Result<(), PrivateFileError> {
    let owner = Uid::from_raw(metadata.uid());
    if !owner.is_root() && owner != agent.user {
        return Err(PrivateFileError::Owner {
            owner: Account {
                user: owner,
                group: Gid::from_raw(metadata.gid()),
            },
            us: agent,
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(PrivateFileError::Open { mode, path });
    }
    Ok(())
}

/// Returns why the type of a file could not be looked up.
pub(crate) fn unseen(error: io::Error, path: &Path) -> PrivateFileError {
    let (us, path) = (Account::ours(), path.to_owned());
    match error.kind() {
        io::ErrorKind::NotFound => PrivateFileError::Missing,
        io::ErrorKind::PermissionDenied => PrivateFileError::Folder { us, path },
        _ => PrivateFileError::Io(error),
    }
}

/// Returns why a file whose type is known could not be opened.
pub(crate) fn unopened(error: io::Error, path: &Path) -> PrivateFileError {
    let (us, path) = (Account::ours(), path.to_owned());
    match error.kind() {
        io::ErrorKind::NotFound => PrivateFileError::Missing,
        io::ErrorKind::PermissionDenied => PrivateFileError::Unreadable { us, path },
        _ => PrivateFileError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    const MOST: u64 = 8;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        (folder, path)
    }

    fn refusal(path: &Path) -> String {
        read(path, MOST).expect_err("refused").to_string()
    }

    #[test]
    fn a_file_is_read_where_its_owner_alone_may_reach_it() {
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            let (_folder, path) = file("12345678", mode);
            match read(&path, MOST) {
                Ok(text) => assert!(good && text == b"12345678", "{mode:o}"),
                Err(error) => {
                    let fix = format!("run: chmod 600 {}", path.display());
                    assert!(!good && error.to_string().ends_with(&fix), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_with_the_command_that_fixes_it() {
        if !geteuid().is_root() {
            return;
        }
        let (_folder, path) = file("", 0o600);
        chown(&path, Some(4242), Some(4243)).expect("chown");
        let fix = format!("run: chown root:root {}", path.display());
        let said = refusal(&path);
        assert!(said.contains("user 4242") && said.ends_with(&fix), "{said}");
    }

    #[test]
    fn what_may_not_be_read_is_to_be_handed_over() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let said = unopened(denied(), Path::new("/etc/lb/peer.secret")).to_string();
        let us = Account::ours();
        let fix = format!("user {us} has no permission to read it; run: chown {us}:");
        assert!(
            said.starts_with(&fix) && said.ends_with(" /etc/lb/peer.secret"),
            "{said}"
        );
        let said = unseen(denied(), Path::new("/etc/lb/peer.secret")).to_string();
        assert!(said.contains("`namei -l /etc/lb/peer.secret`"), "{said}");
    }

    #[test]
    fn a_path_that_is_no_file_or_too_long_or_missing_is_reported() {
        let (folder, path) = file("123456789", 0o600);
        assert!(refusal(&path).contains("more than 8 bytes"));
        assert!(refusal(folder.path()).contains("not a regular file"));
        assert!(refusal(&folder.path().join("missing")).contains("no such file"));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        assert!(refusal(&pipe).contains("not a regular file"));
    }
}
