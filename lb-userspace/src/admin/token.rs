//! The operator token, which allows changes from the status page.

use std::{
    path::{Path, PathBuf},
    str,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::private_file::{self, PrivateFileError};

/// Minimum length of an operator token, in bytes.
const SHORTEST: usize = 16;
/// Maximum length of an operator token, in bytes.
const LONGEST: usize = 512;
/// What a file with an operator token must hold, as part of a sentence.
pub(crate) const TOKEN_FORM: &str = "it must hold one line of 16 to 512 visible ASCII characters";

/// The file of the operator token. It is read for each request, so a new token is in force without
/// a reload.
#[derive(Clone, Debug)]
pub(super) struct OperatorToken(PathBuf);

/// Why the operator token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the operator token {} (`admin.token_file`): {problem}", path.display())]
pub struct TokenError {
    /// The path of the file with the operator token.
    path: PathBuf,
    /// What is wrong with the file of the operator token.
    #[source]
    problem: TokenProblem,
}

/// What is wrong with the file of the operator token.
#[derive(Debug, thiserror::Error)]
enum TokenProblem {
    /// The file of the operator token cannot be read, or other users than the agent's can read or
    /// change it.
    #[error("{0}")]
    File(#[source] PrivateFileError),
    /// The content of the file is not an operator token.
    #[error("{TOKEN_FORM}; write one with: openssl rand -hex 32")]
    Content,
}

impl OperatorToken {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns whether `given` is the operator token. Takes the same time for every wrong token of
    /// the same length.
    ///
    /// # Errors
    /// The file cannot be read, or does not hold a token.
    pub(super) fn matches(&self, given: &str) -> Result<bool, TokenError> {
        let token = read(&self.0)?;
        Ok(verify_slices_are_equal(token.as_bytes(), given.as_bytes()).is_ok())
    }
}

/// Checks that the file at this path holds an operator token.
///
/// # Errors
/// The file cannot be read, or does not hold a token.
pub fn check_token(path: &Path) -> Result<(), TokenError> {
    read(path).map(|_token| ())
}

/// Returns whether the content of a file is an operator token.
#[must_use]
pub fn is_token(content: &[u8]) -> bool {
    parse(content).is_some()
}

fn parse(content: &[u8]) -> Option<&str> {
    let text = str::from_utf8(content).ok()?.trim_end_matches(['\r', '\n']);
    let is_token = (SHORTEST..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then_some(text)
}

fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |problem| TokenError {
        path: path.to_owned(),
        problem,
    };
    // Two bytes more than the longest token are read, because the line end may have two characters.
    let text = private_file::read(path, LONGEST as u64 + 2)
        .map_err(|error| failed(TokenProblem::File(error)))?;
    let token = parse(&text).ok_or_else(|| failed(TokenProblem::Content))?;
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, OperatorToken) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        (folder, OperatorToken::at(path))
    }

    #[test]
    fn only_the_whole_token_matches() {
        let (_folder, token) = file(&format!("{TOKEN}\n"), 0o600);
        assert!(token.matches(TOKEN).expect("read"));
        for wrong in [
            "",
            "0",
            &TOKEN[1..],
            &format!("{TOKEN}0"),
            &TOKEN.to_uppercase(),
        ] {
            assert!(!token.matches(wrong).expect("read"), "{wrong}");
        }
    }

    #[test]
    fn a_new_token_is_in_force_without_a_reload() {
        let (_folder, token) = file(TOKEN, 0o600);
        assert!(token.matches(TOKEN).expect("read"));
        let new = "f".repeat(32);
        fs::write(&token.0, &new).expect("written");
        assert!(!token.matches(TOKEN).expect("read") && token.matches(&new).expect("read"));
    }

    #[test]
    fn a_file_that_is_open_to_others_or_holds_no_token_is_refused() {
        let (_folder, token) = file(TOKEN, 0o644);
        let said = token.matches(TOKEN).expect_err("refused").to_string();
        assert!(said.contains("chmod 600"), "{said}");
        for text in ["", "short", "two words of a token", &"x".repeat(513)] {
            let (_folder, token) = file(text, 0o600);
            let said = token.matches(text).expect_err("refused").to_string();
            assert!(said.contains("admin.token_file"), "{said}");
        }
    }
}
