//! The state file: operator overrides and unhealthy backends, which outlive the agent.
//!
//! It is a small JSON file beside the admin socket. It prevents a restarted agent from enabling a
//! drained backend, and from sending clients to a backend that was unhealthy a second ago.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{AdminState, BackendKey, Stamp};
use crate::config::Name;

/// The saved states of backends. Healthy backends that never had an override are omitted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SavedStates(BTreeMap<BackendKey, SavedState>);

/// The saved state of one backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedState {
    /// The operator override of the backend.
    pub order: AdminState,
    /// When the operator override was set; zero if it never was.
    pub stamp: Stamp,
    /// Whether the health checks found the backend healthy.
    pub healthy: bool,
}

impl SavedStates {
    /// Collects the states of those backends whose state must be saved.
    #[must_use]
    pub fn new(backends: impl IntoIterator<Item = (BackendKey, SavedState)>) -> Self {
        // An override of "ready" that was ever set must be saved, too: the peer may have an older
        // override.
        let noteworthy =
            |remembered: &SavedState| remembered.stamp.is_some() || !remembered.healthy;
        let backends = backends.into_iter();
        Self(backends.filter(|(_, it)| noteworthy(it)).collect())
    }

    /// Returns the saved state of one backend; `None` if none was saved.
    #[must_use]
    pub fn of(&self, id: &BackendKey) -> Option<SavedState> {
        self.0.get(id).copied()
    }
}

/// The file in which the states of backends are saved.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// The format of the state file, which people can read, too.
#[derive(Deserialize, Serialize)]
struct Document {
    backends: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    pool: String,
    address: SocketAddr,
    order: AdminState,
    /// When the override was set, in milliseconds since 1970, or later than that time: see
    /// [`Stamp`].
    #[serde(default)]
    given: Stamp,
    healthy: bool,
}

impl StateFile {
    /// Returns the state file beside the admin socket, whose name is derived from that of the
    /// socket: `lb.state.json` for `lb.sock`.
    #[must_use]
    pub fn beside(socket: &Path) -> Self {
        Self {
            path: socket.with_extension("state.json"),
        }
    }

    /// Returns the path of the state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the states that an earlier agent saved; returns none if the file does not exist.
    ///
    /// # Errors
    /// The file cannot be read, or has another format.
    pub fn read(&self) -> io::Result<SavedStates> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SavedStates::default());
            }
            text => text?,
        };
        let document: Document = serde_json::from_slice(&text)?;
        // Entries with invalid names are ignored, because no backend can have such a name.
        let known = document.backends.into_iter().filter_map(|line| {
            let id = BackendKey {
                pool: Name::parse(&line.pool)?,
                address: line.address,
            };
            let remembered = SavedState {
                order: line.order,
                // Older agents did not save when an override was set: an override without a time
                // counts as older than any other.
                stamp: line.given.max(Stamp::oldest(line.order)),
                healthy: line.healthy,
            };
            Some((id, remembered))
        });
        Ok(SavedStates::new(known))
    }

    /// Replaces the state file atomically: after a crash, either the old file or the new one is
    /// there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, memory: &SavedStates) -> io::Result<()> {
        let backends = memory.0.iter().map(|(id, remembered)| Line {
            pool: id.pool.to_string(),
            address: id.address,
            order: remembered.order,
            given: remembered.stamp,
            healthy: remembered.healthy,
        });
        let document = Document {
            backends: backends.collect(),
        };
        let draft = self.path.with_extension("json.new");
        let mut file = File::create(&draft)?;
        serde_json::to_writer_pretty(&mut file, &document)?;
        file.write_all(b"\n")?;
        fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn id(address: &str) -> BackendKey {
        BackendKey {
            pool: Name::parse("web").expect("a name"),
            address: address.parse().expect("an address"),
        }
    }

    fn remembered(order: AdminState, second: u64, healthy: bool) -> SavedState {
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let stamp = match second {
            0 => Stamp::default(),
            _ => Stamp::next(Stamp::default(), when),
        };
        SavedState {
            order,
            stamp,
            healthy,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::beside(&directory.path().join("lb.sock"));
        let drained = remembered(AdminState::Drain, 7, true);
        let dead = remembered(AdminState::Ready, 0, false);
        let memory = SavedStates::new([(id("10.0.0.6:80"), drained), (id("[fd00::7]:80"), dead)]);
        file.write(&memory).expect("written");
        assert_eq!(file.read().expect("read"), memory);
        let left = fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
    }

    #[test]
    fn a_backend_that_is_well_needs_no_memory() {
        let fine = remembered(AdminState::Ready, 0, true);
        let memory = SavedStates::new([(id("10.0.0.6:80"), fine)]);
        assert_eq!(memory, SavedStates::default());
    }

    #[test]
    fn that_a_backend_was_put_back_to_work_is_remembered() {
        let ready = remembered(AdminState::Ready, 7, true);
        let memory = SavedStates::new([(id("10.0.0.6:80"), ready)]);
        assert_eq!(memory.of(&id("10.0.0.6:80")), Some(ready));
    }

    #[test]
    fn no_file_is_an_empty_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::beside(&directory.path().join("lb.sock"));
        assert_eq!(file.read().expect("read"), SavedStates::default());
    }

    #[test]
    fn an_order_without_a_time_is_an_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::beside(&directory.path().join("lb.sock"));
        let text = r#"{"backends": [{
            "pool": "web", "address": "10.0.0.6:80", "order": "drain", "healthy": true
        }]}"#;
        fs::write(file.path(), text).expect("written");
        let memory = file.read().expect("read");
        let found = memory.of(&id("10.0.0.6:80")).expect("remembered");
        assert_eq!(found.order, AdminState::Drain);
        let earliest = remembered(AdminState::Drain, 1, true).stamp;
        assert!(found.stamp.is_some() && found.stamp < earliest);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_guess() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = StateFile::beside(&directory.path().join("lb.sock"));
        fs::write(file.path(), "{\"backends\": [").expect("written");
        file.read().expect_err("half a file");
    }
}
