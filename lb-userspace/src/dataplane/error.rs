//! Why an operation on the kernel's side failed.

/// Why an operation on the kernel's side failed: what was attempted, on what, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// An error with a sentence of its own.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// What was attempted, and what came of it. The causes beneath are spelled out: aya's own
    /// message often says only that a system call failed.
    pub(super) fn of(attempt: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut sentence = format!("{attempt}: {cause}");
        let mut next = cause.source();
        while let Some(cause) = next {
            let words = cause.to_string();
            if !sentence.contains(&words) {
                sentence.push_str(": ");
                sentence.push_str(&words);
            }
            next = cause.source();
        }
        Self(sentence)
    }
}
