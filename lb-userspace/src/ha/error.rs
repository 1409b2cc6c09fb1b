//! Why something on this host could not be done for the pair.

/// What was attempted, on what, and what to do, as a sentence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// An error with a sentence of its own.
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}
