//! Watches files on disk, and reports those that have changed.
//!
//! Files are polled rather than watched with inotify, which misses changes on a network file
//! system, and changes of symbolic links, which certbot and Kubernetes replace. A change is
//! reported once the file is the same in two consecutive polls, so that a file that is still being
//! written is not read.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::MissedTickBehavior,
};

/// Metadata of a file that changes when its content does. For a symbolic link it is the metadata of
/// the link's target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When the content of the file was last changed, in seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// When the content, mode or owner of the file was last changed, in seconds and nanoseconds
    /// since 1970.
    changed: (i64, i64),
}

impl Stamp {
    /// Returns the current stamp of a file (metadata that changes when its content does); `None` if
    /// the file cannot be found.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok();
        metadata.as_ref().map(Self::from)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The stamps (metadata that changes with a file's content) that files had before they were read.
/// [`FileWatch::watch`] reports files whose stamps have changed since then.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl Stamps {
    /// Returns the current stamp of each of these files: metadata that changes when the file's
    /// content does.
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamps = paths.into_iter().map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        Self(stamps.collect())
    }
}

/// What the polls have found so far, by file.
#[derive(Clone, Debug, Default)]
struct Looks(BTreeMap<PathBuf, Seen>);

/// Two stamps (metadata that changes with the content) of one file; `None` if the file did not
/// exist.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The metadata that the file had before its content was last read; `None` if there was no
    /// file.
    read: Option<Stamp>,
    /// The metadata that the file had at the last poll; `None` if there was no file.
    last: Option<Stamp>,
}

impl Looks {
    fn begin(stamps: &Stamps) -> Self {
        let seen = stamps.0.iter().map(|(path, stamp)| {
            let (read, last) = (*stamp, *stamp);
            (path.clone(), Seen { read, last })
        });
        Self(seen.collect())
    }

    /// Records what a poll has found. Returns the files that have changed since they were read, but
    /// not since the previous poll.
    fn look(&mut self, found: &Stamps) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, seen) in &mut self.0 {
            let Some(now) = found.0.get(path) else {
                continue;
            };
            let is_settled = seen.last == *now;
            seen.last = *now;
            if is_settled && seen.read != *now {
                seen.read = *now;
                changed.push(path.clone());
            }
        }
        changed
    }
}

/// The task that polls files for changes. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct FileWatch {
    watched: watch::Sender<Stamps>,
    task: JoinHandle<()>,
}

impl FileWatch {
    /// Starts the task, which polls at the interval `every` and has no files to watch yet. The
    /// receiver yields the paths of files that have changed. Must be called within a tokio runtime.
    pub(super) fn start(every: Duration) -> (Self, mpsc::Receiver<Vec<PathBuf>>) {
        let (watched, files) = watch::channel(Stamps::default());
        let (changed, changes) = mpsc::channel(1);
        let task = tokio::spawn(run(files, changed, every));
        (Self { watched, task }, changes)
    }

    /// Replaces the set of files that are watched.
    pub(super) fn watch(&self, files: Stamps) {
        self.watched.send_replace(files);
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut files: watch::Receiver<Stamps>,
    changed: mpsc::Sender<Vec<PathBuf>>,
    every: Duration,
) {
    let mut looks = Looks::default();
    let mut every = tokio::time::interval(every);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if files.has_changed().is_ok_and(|changed| changed) {
            looks = Looks::begin(&files.borrow_and_update());
        }
        let paths: Vec<_> = looks.0.keys().cloned().collect();
        // The files are polled on another thread, because a poll may block on a network file
        // system.
        let found = spawn_blocking(|| Stamps::of(paths)).await;
        let changes = found.map(|found| looks.look(&found)).unwrap_or_default();
        if !changes.is_empty() && changed.send(changes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn stamps(paths: &[&Path]) -> Stamps {
        Stamps::of(paths.iter().map(|path| path.to_path_buf()))
    }

    /// Polls one file. Returns whether a change of it is reported.
    fn look(looks: &mut Looks, path: &Path) -> bool {
        !looks.look(&stamps(&[path])).is_empty()
    }

    #[test]
    fn a_change_counts_once_when_it_has_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.pem");
        let write = |text: &str| fs::write(&file, text).expect("write");
        write("1");
        let mut looks = Looks::begin(&stamps(&[&file]));
        assert!(!look(&mut looks, &file), "as it was read");
        write("12");
        assert!(!look(&mut looks, &file), "it may still be written");
        write("123");
        assert!(!look(&mut looks, &file), "and it was");
        assert!(look(&mut looks, &file));
        assert!(!look(&mut looks, &file));
    }

    #[test]
    fn replaced_files_links_and_modes_are_changes_and_so_is_a_file_that_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let link = at("live.pem");
        for name in ["1", "2", "3"] {
            fs::write(at(name), "same").expect("write");
        }
        symlink(at("1"), &link).expect("a link");
        let mut looks = Looks::begin(&stamps(&[&link]));
        assert!(!look(&mut looks, &link));
        let mut settles = |what: &str| {
            assert!(!look(&mut looks, &link), "{what}: not settled");
            assert!(look(&mut looks, &link), "{what}");
        };
        symlink(at("2"), at("new")).expect("a link");
        fs::rename(at("new"), &link).expect("rename");
        settles("another target");
        fs::rename(at("3"), at("2")).expect("rename");
        settles("another file under the name");
        fs::set_permissions(at("2"), fs::Permissions::from_mode(0o600)).expect("chmod");
        settles("another mode");
        fs::remove_file(at("2")).expect("remove");
        settles("no file");
        fs::write(at("2"), "same").expect("write");
        settles("a file again");
    }

    #[tokio::test]
    async fn the_task_gives_files_that_change_and_forgets_those_that_are_not_watched() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        let write = |path: &Path, text: &str| fs::write(path, text).expect("write");
        write(&file, "1");
        let (watch, mut changes) = FileWatch::start(Duration::from_millis(10));
        let before = stamps(&[&file, &other]);
        // The outcome must be the same whether the file changes before or after the first poll.
        write(&file, "12");
        watch.watch(before);
        assert_eq!(changes.recv().await, Some(vec![file.clone()]));
        watch.watch(stamps(&[&other]));
        write(&file, "123");
        write(&other, "1");
        assert_eq!(changes.recv().await, Some(vec![other]));
    }
}
