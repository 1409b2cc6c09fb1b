//! `lb peer init`: creates the pair's secret.

use std::{
    io,
    path::{Path, absolute},
};

use crate::peer::{Secret, SecretError};

/// Creates the file with the pair's secret. Returns instructions for the operator's next steps.
pub(super) fn init(out: &Path, force: bool) -> Result<String, SecretError> {
    let secret = Secret::create(out, force)?;
    Ok(next_steps(out, &secret.fingerprint()))
}

fn next_steps(out: &Path, fingerprint: &str) -> String {
    let path = absolute(out).unwrap_or_else(|_: io::Error| out.to_owned());
    let path = path.display();
    format!(
        "created {path}, mode 0600, fingerprint {fingerprint}\n\
         Anyone with this file can act as either host of the pair: protect it like a private key.\n\
         \n\
         1. Make the agent's user its owner. With lb.service that is lb:\n\
         \n\
         \x20  chown lb: {path}\n\
         \n\
         2. Copy it to the same path on the other host, with the same owner and mode:\n\
         \n\
         \x20  ssh root@PEER install -o lb -g lb -m 0600 /dev/stdin {path} <{path}\n\
         \n\
         3. Set it in the configuration of both hosts:\n\
         \n\
         \x20  [ha.link]\n\
         \x20  secret_file = \"{path}\"\n\
         \n\
         4. Restart lb on both hosts: systemctl restart lb\n\
         \n\
         `lb doctor` shows the fingerprint on each host.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_name_the_file_and_its_fingerprint() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("peer.pem");
        let said = init(&out, false).expect("made");
        let read = Secret::read(&out).expect("good");
        assert!(said.contains(&read.fingerprint()), "{said}");
        let line = format!("secret_file = \"{}\"", out.display());
        assert!(said.contains(&line), "{said}");
        let file = out.display();
        for command in [
            format!("chown lb: {file}"),
            format!("install -o lb -g lb -m 0600 /dev/stdin {file} <{file}"),
        ] {
            assert!(said.contains(&command), "{said}");
        }
        assert!(!said.contains("BEGIN"), "no secret in {said}");
    }

    #[test]
    fn a_missing_folder_is_reported() {
        let error = init(Path::new("/nonexistent/peer.pem"), false).expect_err("no folder");
        assert!(
            error.to_string().contains("/nonexistent/peer.pem"),
            "{error}"
        );
    }
}
