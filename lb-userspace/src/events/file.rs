//! The file of the journal: one JSON object on each line, in the order in which the events were
//! recorded. A later line with the same `id` replaces an earlier one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::event::Event;

/// Size limit in bytes of what is read, from the end of the journal's file. The journal itself
/// keeps its file smaller.
const LONGEST_READ: u64 = 16 * 1024 * 1024;

/// Returns the events in the journal's file; none if there is no file. Skips lines that are no
/// events, such as one that was partly written when the host lost power.
///
/// # Errors
/// The file cannot be read, or is not a regular file.
pub(super) fn read(path: &Path) -> io::Result<Vec<Event>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => refuse_other_types(&found?)?,
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_READ)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_READ).read_to_end(&mut bytes)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Appends events to the journal's file.
///
/// # Errors
/// The file cannot be written. It may then have some of the events.
pub(super) fn append(path: &Path, events: &[Event]) -> io::Result<()> {
    refuse_other_types(&fs::metadata(path)?)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(&lines(events)?)?;
    file.sync_data()
}

/// Replaces the journal's file atomically: a crash leaves the old file or the new one. Creates its
/// folder if there is none.
///
/// # Errors
/// The file cannot be written, or is not a regular file; the old one is unchanged then.
pub(super) fn replace(path: &Path, events: &[Event]) -> io::Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(folder)?;
            }
        }
        found => refuse_other_types(&found?)?,
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    let written = write(draft, events).and_then(|()| fs::rename(draft, path));
    if written.is_err() {
        // The temporary file that a failed attempt leaves would take space on a disk that may be
        // full.
        let _removed = fs::remove_file(draft);
    }
    written
}

fn write(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)?;
    file.write_all(&lines(events)?)?;
    file.sync_all()
}

fn lines(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Returns an error for other than regular files: devices, and pipes, which would block the thread
/// that opens them.
fn refuse_other_types(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}
