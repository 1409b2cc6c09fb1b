//! Bodies of the front's fixed answers and error pages.

use std::{fs::File, io::Read as _, path::Path};

use bytes::Bytes;

use crate::config::content_type;

/// Size limit of the file of a body, in bytes; its content is kept in memory.
const LARGEST: u64 = 1 << 20;

/// The body of a response of the front, with its content type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// The bytes of the body.
    pub(super) body: Bytes,
    /// The content type of the body.
    pub(super) content_type: String,
}

/// Why a file cannot be used as the body of an answer.
#[derive(Debug, thiserror::Error)]
pub enum PageProblem {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The path is not that of a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file is larger than the limit of 1 MiB.
    #[error("it is larger than 1 MiB; let a backend serve it, and answer with a redirect")]
    TooLarge,
}

impl Page {
    /// Reads the page in a file; the extension of the file's name determines the content type.
    pub(super) fn read(file: &Path) -> Result<Self, PageProblem> {
        Ok(Self {
            body: read(file)?,
            content_type: content_type(file).to_owned(),
        })
    }
}

fn read(file: &Path) -> Result<Bytes, PageProblem> {
    // The type of the file is checked first, because opening a pipe would block.
    let metadata = std::fs::metadata(file).map_err(PageProblem::Unreadable)?;
    if !metadata.is_file() {
        return Err(PageProblem::NotAFile);
    }
    let file = File::open(file).map_err(PageProblem::Unreadable)?;
    let mut bytes = Vec::new();
    let mut reader = file.take(LARGEST + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(PageProblem::Unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(PageProblem::TooLarge);
    }
    Ok(Bytes::from(bytes))
}
