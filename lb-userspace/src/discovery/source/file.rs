//! A source of backends that is a file, which another program writes.

mod parse;

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use crate::discovery::{Answer, SourceError};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Time between the readings of the first query, of which two in a row must find the same content.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A file with a line for each backend.
///
/// A program may be writing the file while it is read. New content is therefore used only when two
/// readings in a row have found it; until then the previous content stays. The first query makes
/// both readings itself.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// The reading that is under way. It continues when a query is dropped, because a blocked
    /// thread cannot be stopped: the next query waits for it instead of blocking another thread.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    content: Settling,
}

/// The content of a file that another program may be writing.
#[derive(Debug, Default)]
struct Settling {
    /// The content that is used, and the answer that it gives; `None` until a content is used.
    used: Option<(Vec<u8>, Result<Answer, SourceError>)>,
    /// The content that was found by the last reading; `None` if that failed.
    last: Option<Vec<u8>>,
    /// Whether a reading has been made, successful or not.
    was_read: bool,
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            reading: None,
            content: Settling::default(),
        }
    }

    /// Reads the file, and returns the backends of the content that is used.
    pub(super) async fn query(&mut self) -> Result<Answer, SourceError> {
        let mut content = self.read().await;
        // The content that the first query finds is used immediately, so the first query itself
        // waits until the file no longer changes.
        while !self.content.was_read && content.is_ok() {
            sleep(FIRST_PAUSE).await;
            let again = self.read().await;
            if again.as_ref().ok() == content.as_ref().ok() {
                break;
            }
            content = again;
        }
        match content {
            Ok(content) => self.content.found(content, &self.path),
            Err(error) => Err(self.content.failed(&self.path, &error)),
        }
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let path = self.path.clone();
        let reading = self
            .reading
            .get_or_insert_with(|| spawn_blocking(move || read(&path)));
        let read = reading.await;
        self.reading = None;
        read.map_err(io::Error::other).flatten()
    }
}

impl Settling {
    /// Records the content that a reading has found. Returns the answer of the content that is used
    /// from now on, which may be the previous one.
    fn found(&mut self, content: Vec<u8>, path: &Path) -> Result<Answer, SourceError> {
        let is_first = !self.was_read;
        self.was_read = true;
        let is_settled = is_first || self.last.as_ref() == Some(&content);
        match &self.used {
            Some((used, said)) if *used == content || !is_settled => {
                let said = said.clone();
                self.last = Some(content);
                said
            }
            None if !is_settled => {
                self.last = Some(content);
                Err(SourceError(format!(
                    "the file {} has appeared and may not be complete yet; its backends are used \
                     when a second reading finds the same content",
                    path.display()
                )))
            }
            _ => {
                let said = parse::backends(&content).map(|backends| Answer {
                    backends,
                    valid_for: None,
                });
                let said = said.map_err(|errors| {
                    SourceError(format!(
                        "could not read backends from the file {}: {errors}",
                        path.display()
                    ))
                });
                self.last = Some(content.clone());
                self.used = Some((content, said.clone()));
                said
            }
        }
    }

    /// Records that a reading has failed. Returns the error of the query.
    fn failed(&mut self, path: &Path, error: &io::Error) -> SourceError {
        self.was_read = true;
        self.last = None;
        let advice = match error.kind() {
            io::ErrorKind::NotFound => {
                "create it, with a line such as 10.0.0.6:80 for each backend"
            }
            io::ErrorKind::PermissionDenied => "let the user of the agent read it",
            _ => "check file in [pool.discover]",
        };
        SourceError(format!(
            "could not read the file {}: {error}; {advice}",
            path.display()
        ))
    }
}

/// Reads a regular file of at most [`LARGEST`] bytes.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = fs::OpenOptions::new();
    // With O_NONBLOCK, opening a named pipe without a writer does not block.
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn ports(answer: Result<Answer, SourceError>) -> Vec<u16> {
        let backends = answer.expect("an answer").backends;
        let addresses = backends.iter().map(|backend| backend.address);
        addresses
            .map(|address: SocketAddr| address.port())
            .collect()
    }

    fn found(content: &mut Settling, text: &str) -> Result<Answer, SourceError> {
        content.found(text.into(), Path::new("/run/backends"))
    }

    #[test]
    fn what_the_first_query_finds_is_used_at_once_and_new_content_when_found_twice() {
        let mut content = Settling::default();
        assert_eq!(ports(found(&mut content, "10.0.0.6:1\n10.0.0.7:2")), [1, 2]);
        assert_eq!(ports(found(&mut content, "10.0.0.6:1")), [1, 2], "written");
        assert_eq!(ports(found(&mut content, "10.0.0.6:3\n")), [1, 2], "again");
        assert_eq!(ports(found(&mut content, "10.0.0.6:3\n")), [3]);
        assert_eq!(ports(found(&mut content, "")), [3]);
        assert_eq!(ports(found(&mut content, "10.0.0.6:3\n")), [3]);
        assert_eq!(ports(found(&mut content, "")), [3], "not twice in a row");
        assert_eq!(ports(found(&mut content, "")), [0_u16; 0]);
    }

    #[test]
    fn errors_of_a_file_that_is_being_written_are_not_reported() {
        let mut content = Settling::default();
        assert_eq!(ports(found(&mut content, "10.0.0.6:1")), [1]);
        assert_eq!(ports(found(&mut content, "10.0.")), [1]);
        let error = found(&mut content, "10.0.").expect_err("a cut line");
        assert!(error.0.contains("/run/backends: line 1"), "{error}");
        let error = found(&mut content, "10.0.0.6:1").expect_err("not found twice");
        assert!(error.0.contains("line 1"), "{error}");
        assert_eq!(ports(found(&mut content, "10.0.0.6:1")), [1]);
    }

    #[test]
    fn a_file_that_appears_is_used_when_its_content_was_found_twice() {
        let mut content = Settling::default();
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let error = content.failed(Path::new("/run/backends"), &missing);
        assert!(error.0.contains("/run/backends"), "{error}");
        assert!(error.0.contains("create it"), "{error}");
        let error = found(&mut content, "10.0.0.6:1").expect_err("found once");
        assert!(error.0.contains("second reading"), "{error}");
        assert_eq!(ports(found(&mut content, "10.0.0.6:1")), [1]);
        content.failed(Path::new("/run/backends"), &missing);
        assert_eq!(ports(found(&mut content, "10.0.0.6:2")), [1]);
        content.failed(Path::new("/run/backends"), &missing);
        assert_eq!(
            ports(found(&mut content, "10.0.0.6:2")),
            [1],
            "not in a row"
        );
        assert_eq!(ports(found(&mut content, "10.0.0.6:2")), [2]);
    }
}
