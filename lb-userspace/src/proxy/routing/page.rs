//! Bodies of answers that no backend gives, read once.

use std::{fs::File, io::Read as _, path::Path};

use bytes::Bytes;

use crate::config::content_type;

/// What a file for an answer may have, in bytes: it is kept in memory.
const LARGEST: u64 = 1 << 20;

/// A body with its content type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// The body.
    pub(super) body: Bytes,
    /// Its content type.
    pub(super) content_type: String,
}

/// Why a file cannot be a body.
#[derive(Debug, thiserror::Error)]
pub enum PageProblem {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[source] std::io::Error),
    /// It is no file.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is too large.
    #[error("it is larger than 1 MiB; let a backend serve it, and answer with a redirect")]
    TooLarge,
}

impl Page {
    /// The page that a file holds; its content type is that of its ending.
    pub(super) fn read(file: &Path) -> Result<Self, PageProblem> {
        Ok(Self {
            body: read(file)?,
            content_type: content_type(file).to_owned(),
        })
    }
}

fn read(file: &Path) -> Result<Bytes, PageProblem> {
    // A pipe would be waited for.
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
