//! The pins in a BPF file system, by which maps, programs and links outlive the agent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapInfo};
use lb_common::{
    backend::Backend,
    connection::Connection,
    endpoint::EndpointBucket,
    hop::Hop,
    limits,
    listener::{LISTENER_WORDS, Listeners},
    service::{Service, ServiceKey},
    settings::Settings,
    traffic::{Traffic, TrafficSlot},
    verdict::COUNTER_SLOTS,
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Error;

/// What a map must look like: its name, the sizes of its keys and values in bytes, and its number
/// of entries, which is `None` if it depends on the configuration.
type Shape = (&'static str, usize, usize, Option<u32>);

/// All BPF maps of this version of `lb` that are pinned.
const MAPS: [Shape; 18] = [
    ("settings", 4, size_of::<Settings>(), Some(1)),
    ("ports", 4, 8, Some(65_536 / 64)),
    (
        "services",
        size_of::<ServiceKey>(),
        size_of::<Service>(),
        Some(2 * limits::SERVICES),
    ),
    ("backends", 4, size_of::<Backend>(), Some(limits::BACKENDS)),
    ("rings", 4, 4, Some(limits::RINGS)),
    ("cursors", 4, 4, Some(limits::SERVICES)),
    ("line_turns", 4, 4, Some(limits::ROWS)),
    ("listeners", 4, size_of::<Listeners>(), Some(LISTENER_WORDS)),
    ("connections", 4, size_of::<Connection>(), None),
    ("source_ports", 4, 4, Some(limits::ROWS)),
    (
        "endpoints",
        4,
        size_of::<EndpointBucket>(),
        Some(limits::ENDPOINT_BUCKETS),
    ),
    ("hops", 4, size_of::<Hop>(), Some(limits::HOPS)),
    ("interfaces", 4, 8, Some(limits::INTERFACES)),
    ("programs", 4, 4, Some(limits::PROGRAMS)),
    ("flow_events", 0, 0, Some(limits::FLOW_EVENT_BYTES)),
    ("untold", 4, 8, Some(1)),
    ("verdicts", 4, 8, Some(COUNTER_SLOTS)),
    ("traffic", 4, size_of::<Traffic>(), Some(TrafficSlot::COUNT)),
];

/// The directory of the pins, with the paths in it.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Creates the paths of the pins in the directory `root`, which need not exist.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the directory that all pins are in.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the pin of the link to an interface. The file's name is the interface's
    /// index, because the name of an interface can change, and may contain a dot, which a BPF file
    /// system does not allow.
    pub(super) fn link(&self, interface: u32) -> PathBuf {
        self.links_directory().join(interface.to_string())
    }

    /// Returns the links that are pinned: the interface index and the path of each.
    pub(super) fn links(&self) -> Vec<(u32, PathBuf)> {
        let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
        files_in(&self.links_directory())
            .filter_map(|path| Some((number(&path)?, path)))
            .collect()
    }

    /// Returns the path of the pin of a row of source ports. Rows are pinned because opening a map
    /// by its id would require CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_map_get_fd_by_id`).
    pub(super) fn row(&self, number: u16) -> PathBuf {
        self.rows_directory().join(number.to_string())
    }

    /// Returns the path at which a new row of source ports (an inner map of `source_ports`) is
    /// pinned while the map `source_ports` does not refer to it yet.
    pub(super) fn new_row(&self, number: u16) -> PathBuf {
        self.rows_directory().join(format!("new-{number}"))
    }

    fn rows_directory(&self) -> PathBuf {
        self.root.join("source_ports")
    }

    fn links_directory(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Returns the path of the link's pin in earlier versions of `lb`, which supported one
    /// interface.
    fn single_link(&self) -> PathBuf {
        self.root.join("link")
    }

    /// Returns the path of the XDP program's pin.
    pub(super) fn program(&self) -> PathBuf {
        self.root.join("program")
    }

    /// Returns the name of each map and the path of its pin.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let directory = self.root.join("maps");
        MAPS.iter()
            .map(move |&(name, ..)| (name, directory.join(name)))
    }

    /// Returns the path of the pin of the map with this name.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    /// Returns whether an earlier agent left a pinned link, so that there are pins to adopt.
    pub(super) fn exist(&self) -> bool {
        self.single_link().exists() || !self.links().is_empty()
    }

    /// Creates the directories for pins. Their parent must be in a BPF file system.
    pub(super) fn create(&self) -> Result<(), Error> {
        let parent = self.root.parent().unwrap_or(&self.root);
        let is_bpf = statfs(parent).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
        if !is_bpf {
            return Err(Error::NotBpfFs(parent.to_owned()));
        }
        [
            self.root.join("maps"),
            self.links_directory(),
            self.rows_directory(),
        ]
        .iter()
        .try_for_each(|directory| {
            fs::create_dir_all(directory)
                .map_err(Error::path("cannot create the directory", directory))
        })
    }

    /// Returns an error if there are pinned maps that this version of `lb` cannot use. Called
    /// before anything is changed.
    pub(super) fn check_layout(&self, entries: u32) -> Result<(), Error> {
        if self.single_link().exists() {
            return Err(Error::OldPin(self.single_link()));
        }
        self.check_number()?;
        for ((name, path), (_name, key, value, expected)) in self.maps().zip(MAPS) {
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path)
                .map_err(Error::path("cannot inspect the pinned map", &path))?;
            let found = (info.key_size() as usize, info.value_size() as usize);
            if found != (key, value) {
                let expected = (key, value);
                return Err(Error::PinnedSizes {
                    path,
                    found,
                    expected,
                });
            }
            if let Some(expected) = expected
                && info.max_entries() != expected
            {
                let found = info.max_entries();
                return Err(Error::PinnedEntries {
                    path,
                    found,
                    expected,
                });
            }
            if name == "connections" && info.max_entries() != entries {
                return Err(Error::TableSize {
                    configured: entries,
                    pinned: info.max_entries(),
                });
            }
        }
        Ok(())
    }

    /// Returns an error if the pinned maps have another layout number than this version of `lb`
    /// needs, which may be so even if their sizes agree.
    fn check_number(&self) -> Result<(), Error> {
        let path = self.map("settings");
        if !path.exists() {
            return Ok(());
        }
        let failed = Error::path("cannot read the pinned map", &path);
        let map = MapData::from_pin(&path)
            .and_then(Map::from_map_data)
            .map_err(failed)?;
        // If the settings have another size, the maps have another layout: `check_layout` finds
        // that next, because it compares sizes.
        let Ok(map) = Array::<MapData, [u8; size_of::<Settings>()]>::try_from(map) else {
            return Ok(());
        };
        let bytes = map.get(&0, 0).map_err(failed)?;
        let settings: Settings = zerocopy::transmute!(bytes);
        // An agent that ended before it wrote its settings left no layout number (0), and no
        // connections.
        if settings.layout != 0 && settings.layout != limits::LAYOUT {
            return Err(Error::LayoutNumber {
                root: self.root.clone(),
                found: settings.layout,
            });
        }
        Ok(())
    }

    /// Removes the pinned links first, which detaches the program, then all other pins. Returns the
    /// paths of the pins that were removed.
    pub(super) fn remove_all(&self) -> Result<Vec<PathBuf>, Error> {
        let links = self.links().into_iter().map(|(_interface, path)| path);
        let files = links
            .chain([self.single_link(), self.program()])
            .chain(self.maps().map(|(_name, path)| path))
            .chain(files_in(&self.rows_directory()));
        let mut removed = Vec::new();
        for path in files {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::path("cannot remove", &path)(error));
                }
            }
        }
        self.forget_if_empty();
        Ok(removed)
    }

    /// Removes the directories of the pins that are empty.
    pub(super) fn forget_if_empty(&self) {
        for directory in [
            self.root.join("maps"),
            self.links_directory(),
            self.rows_directory(),
            self.root.clone(),
        ] {
            // A directory that is not empty, or does not exist, is left as it is.
            let _left = fs::remove_dir(directory);
        }
    }
}

/// Returns the paths of the files in a directory; none if it does not exist.
fn files_in(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}
