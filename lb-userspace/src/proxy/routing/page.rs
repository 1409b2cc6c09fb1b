//! Bodies of fixed answers and error pages.

use std::{fs::File, io::Read as _, path::Path};

use bytes::Bytes;

use crate::config::content_type;

/// Size limit of a file in bytes; its content is kept in memory.
const LARGEST: u64 = 1 << 20;

/// A body with its content type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// The body.
    pub(super) body: Bytes,
    /// The content type.
    pub(super) content_type: String,
}

/// Why a file cannot be used as a body.
#[derive(Debug, thiserror::Error)]
pub enum PageProblem {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] std::io::Error),
    /// The path is not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The file is too large.
    #[error("it is larger than 1 MiB; let a backend serve it, and answer with a redirect")]
    TooLarge,
}

impl Page {
    /// Reads the page in a file; the content type follows from the file name extension.
    pub(super) fn read(file: &Path) -> Result<Self, PageProblem> {
        Ok(Self {
            body: read(file)?,
            content_type: content_type(file).to_owned(),
        })
    }
}

fn read(file: &Path) -> Result<Bytes, PageProblem> {
    // Opening a pipe would block.
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
