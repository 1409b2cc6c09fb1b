//! The lock that keeps a second agent from using the same pins.

use std::{
    fs::{File, TryLockError},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use super::Error;

/// A lock on the directory of the pins, which an agent holds while it owns the pins. The kernel
/// releases it when the last descriptor of the open file is closed, however the agent ends; a
/// process that takes over from the agent gets a duplicate of the descriptor.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Acquires the lock on the directory of the pins. `held` is the open file of an agent that has
    /// the lock and hands it over, or `None` if there is no such agent.
    pub(super) fn take(directory: &Path, held: Option<File>) -> Result<Self, Error> {
        let file = held.map_or_else(|| File::open(directory), Ok);
        let file = file.map_err(Error::path("cannot open", directory))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::path("cannot lock", directory)(error)),
        }
    }

    /// Duplicates the descriptor of the locked file, for a process that takes over.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_shared_is_held_until_both_have_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let first = Lock::take(path, None).expect("free");
        Lock::take(path, None).expect_err("held");
        let shared = File::from(first.share().expect("a descriptor"));
        let second = Lock::take(path, Some(shared)).expect("handed on");
        drop(first);
        Lock::take(path, None).expect_err("the second still holds it");
        drop(second);
        Lock::take(path, None).expect("free again");
    }
}
