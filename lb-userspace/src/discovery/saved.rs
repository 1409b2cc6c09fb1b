//! The file with the backends that were discovered last. It outlives the agent and a restart of the
//! host: a host that starts while a source is down uses the backends of the file.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::ListedBackend;
use crate::config::{DiscoverySource, Name, Weight};

/// The discovered backends of each pool, with the source that they were discovered by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SavedBackends(BTreeMap<Name, (String, Vec<SavedBackend>)>);

/// A discovered backend as it is saved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavedBackend {
    /// The backend as its source listed it last.
    pub listed: ListedBackend,
    /// When the backend leaves the pool, because its source no longer has it; `None` if the source
    /// has it.
    pub leaves_at: Option<SystemTime>,
}

impl SavedBackends {
    /// Adds the backends of a pool. A pool without backends is left out.
    pub fn add(&mut self, pool: Name, source: &DiscoverySource, backends: Vec<SavedBackend>) {
        if !backends.is_empty() {
            self.0.insert(pool, (source.to_string(), backends));
        }
    }

    /// Returns the backends of a pool. They are also returned if the pool has another source now,
    /// and are used until that source answers.
    #[must_use]
    pub fn of(&self, pool: &Name) -> &[SavedBackend] {
        self.0.get(pool).map_or(&[], |(_, backends)| backends)
    }
}

/// The file in which the discovered backends are saved.
#[derive(Clone, Debug)]
pub struct SavedBackendsFile(PathBuf);

/// The format of the file, which is JSON with indentation, so that people can read it.
#[derive(Deserialize, Serialize)]
struct Document {
    pools: Vec<PoolEntry>,
}

#[derive(Deserialize, Serialize)]
struct PoolEntry {
    pool: String,
    source: String,
    backends: Vec<BackendEntry>,
}

#[derive(Deserialize, Serialize)]
struct BackendEntry {
    address: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    weight: u16,
    #[serde(default)]
    backup: bool,
    /// When the backend leaves the pool, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaves_at: Option<u64>,
}

impl SavedBackendsFile {
    /// Returns the file at this path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the backends that an earlier agent saved; returns none if the file does not exist.
    ///
    /// # Errors
    /// The file cannot be read, or has another format.
    pub fn read(&self) -> io::Result<SavedBackends> {
        let text = match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SavedBackends::default());
            }
            text => text?,
        };
        let document: Document = serde_json::from_slice(&text)?;
        // Entries with invalid names or weights are left out, which the next answer of the source
        // corrects.
        let pools = document.pools.into_iter().filter_map(|entry| {
            let backends = entry.backends.into_iter().filter_map(BackendEntry::parsed);
            Some((
                Name::parse(&entry.pool)?,
                (entry.source, backends.collect()),
            ))
        });
        Ok(SavedBackends(pools.collect()))
    }

    /// Replaces the file atomically: after a crash, either the old file or the new one is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, saved: &SavedBackends) -> io::Result<()> {
        let pools = saved.0.iter().map(|(pool, (source, backends))| PoolEntry {
            pool: pool.to_string(),
            source: source.clone(),
            backends: backends.iter().map(BackendEntry::of).collect(),
        });
        let document = Document {
            pools: pools.collect(),
        };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        let draft = self.0.with_extension("json.new");
        // The content reaches the disk before the new name does: after a loss of power the file is
        // not empty.
        let mut file = fs::File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &self.0)
    }
}

impl BackendEntry {
    fn of(backend: &SavedBackend) -> Self {
        let SavedBackend { listed, leaves_at } = backend;
        let seconds = |at: &SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs());
        Self {
            address: listed.address,
            name: listed.name.as_ref().map(Name::to_string),
            weight: listed.weight.get(),
            backup: listed.backup,
            leaves_at: leaves_at.as_ref().map(seconds),
        }
    }

    fn parsed(self) -> Option<SavedBackend> {
        let time = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(SavedBackend {
            listed: ListedBackend {
                address: self.address,
                name: self.name.and_then(|name| Name::parse(&name)),
                weight: Weight::new(self.weight)?,
                backup: self.backup,
            },
            leaves_at: self.leaves_at.and_then(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str) -> DiscoverySource {
        DiscoverySource::File(PathBuf::from(file))
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn at(octet: u8) -> SavedBackend {
        SavedBackend {
            listed: ListedBackend::at(SocketAddr::from(([10, 0, 0, octet], 80))),
            leaves_at: None,
        }
    }

    fn backends() -> Vec<SavedBackend> {
        let mut named = at(7);
        named.listed.name = Some(name("web2"));
        named.listed.weight = Weight::new(7).expect("a weight");
        named.listed.backup = true;
        let mut leaving = at(9);
        leaving.leaves_at = Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        vec![at(6), named, leaving]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SavedBackendsFile::at(folder.path().join("backends.json"));
        assert_eq!(file.read().expect("no file"), SavedBackends::default());
        let mut saved = SavedBackends::default();
        saved.add(name("web"), &source("/a"), backends());
        saved.add(name("empty"), &source("/b"), Vec::new());
        file.write(&saved).expect("written");
        assert_eq!(file.read().expect("read"), saved);
        let left = fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
    }

    #[test]
    fn each_pool_has_its_own_backends() {
        let mut saved = SavedBackends::default();
        saved.add(name("web"), &source("/a"), backends());
        assert_eq!(saved.of(&name("web")), backends());
        assert!(saved.of(&name("app")).is_empty());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_an_invalid_entry_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SavedBackendsFile::at(folder.path().join("backends.json"));
        fs::write(file.path(), "{\"pools\": [").expect("written");
        file.read().expect_err("half a file");
        let text = r#"{"pools": [{"pool": "web", "source": "file /a", "backends": [
            {"address": "10.0.0.6:80", "weight": 0}, {"address": "10.0.0.7:80", "weight": 1}
        ]}]}"#;
        fs::write(file.path(), text).expect("written");
        let saved = file.read().expect("read");
        let read = saved.of(&name("web"));
        assert_eq!(read, [at(7)]);
    }
}
