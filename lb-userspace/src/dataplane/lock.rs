//! One agent at a time.

use std::{fs::File, io, path::Path};

use nix::fcntl::{Flock, FlockArg};

use super::Error;

/// Held for as long as an agent owns the pins; the kernel lets go of it when the agent ends, in
/// whatever way.
#[derive(Debug)]
pub(super) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock on the directory of the pins.
    pub(super) fn take(directory: &Path) -> Result<Self, Error> {
        let file = File::open(directory)
            .map_err(|error| Error::of(&format!("cannot open {}", directory.display()), &error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { _held: held }),
            Err((_file, nix::errno::Errno::EWOULDBLOCK)) => Err(Error::new(format!(
                "another agent already runs with the pins under {}; see `lb status`, and stop it \
                 first",
                directory.display()
            ))),
            Err((_file, errno)) => Err(Error::of(
                &format!("cannot lock {}", directory.display()),
                &io::Error::from(errno),
            )),
        }
    }
}
