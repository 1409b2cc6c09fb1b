//! What outlives the agent: the operator's orders, and which backends were unhealthy.
//!
//! It stands in a small JSON file beside the admin socket. A restarted agent so neither puts a
//! drained backend back to work nor sends clients to one that was dead a second ago.

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

/// What is remembered of all backends. Those that are healthy and never had an order need no
/// memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SavedStates(BTreeMap<BackendKey, SavedState>);

/// What is remembered of one backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedState {
    /// The operator's order.
    pub order: AdminState,
    /// When it was given.
    pub stamp: Stamp,
    /// What the checks said.
    pub healthy: bool,
}

impl SavedStates {
    /// Remembers what is worth it of these backends.
    #[must_use]
    pub fn new(backends: impl IntoIterator<Item = (BackendKey, SavedState)>) -> Self {
        // That a backend is ready counts too: the peer may have an older order for it.
        let noteworthy =
            |remembered: &SavedState| remembered.stamp.is_some() || !remembered.healthy;
        let backends = backends.into_iter();
        Self(backends.filter(|(_, it)| noteworthy(it)).collect())
    }

    /// What is remembered of one backend.
    #[must_use]
    pub fn of(&self, id: &BackendKey) -> Option<SavedState> {
        self.0.get(id).copied()
    }
}

/// Where the memory is kept.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// The file's form: made for people to read, too.
#[derive(Deserialize, Serialize)]
struct Document {
    backends: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    pool: String,
    address: SocketAddr,
    order: AdminState,
    /// Milliseconds since 1970, or more: see [`Stamp`].
    #[serde(default)]
    given: Stamp,
    healthy: bool,
}

impl StateFile {
    /// The file beside the admin socket, by its name: `lb.state.json` for `lb.sock`.
    #[must_use]
    pub fn beside(socket: &Path) -> Self {
        Self {
            path: socket.with_extension("state.json"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier agent left; nothing when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not one of ours.
    pub fn read(&self) -> io::Result<SavedStates> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SavedStates::default());
            }
            text => text?,
        };
        let document: Document = serde_json::from_slice(&text)?;
        // A name that no configuration can have fits no backend: it may as well be forgotten.
        let known = document.backends.into_iter().filter_map(|line| {
            let id = BackendKey {
                pool: Name::parse(&line.pool)?,
                address: line.address,
            };
            let remembered = SavedState {
                order: line.order,
                // Older agents wrote no time: any time is later.
                stamp: line.given.max(Stamp::oldest(line.order)),
                healthy: line.healthy,
            };
            Some((id, remembered))
        });
        Ok(SavedStates::new(known))
    }

    /// Replaces the file in one step: a crash leaves the old memory or the new one.
    ///
    /// # Errors
    /// Whatever the file system says.
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
