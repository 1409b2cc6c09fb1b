//! The AWS CLI, which scripts of keepalived call.

use std::{env, path::PathBuf};

/// Returns the path of the AWS CLI: that in cargo's target directory, where `cargo xtask setup`
/// installs it, or else `aws` on `PATH`.
#[must_use]
pub fn aws_cli() -> PathBuf {
    let ours = env::current_exe().unwrap_or_default();
    ours.ancestors()
        .map(|folder| folder.join("awscli/bin/aws"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| "aws".into())
}
