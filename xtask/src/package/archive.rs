//! The tarball: the files of the Debian package below one folder.

use super::{Release, tree::Tree};
use crate::child;

/// Builds the tarball and returns its name.
///
/// # Errors
/// tar or gzip failed.
pub(super) fn build(release: &Release, tree: &Tree) -> anyhow::Result<String> {
    let folder = format!("lb-{}-{}", release.version, std::env::consts::ARCH);
    let name = format!("{folder}.tar.gz");
    let level = if release.quick { "-1" } else { "-9" };
    let mut tar = release.command("tar");
    tar.arg("--create")
        .arg("--file")
        .arg(release.out.join(&name))
        .arg(format!("--use-compress-program=gzip -n {level}"))
        .args(["--sort=name", "--format=gnu", "--numeric-owner"])
        .args(["--owner=0", "--group=0"])
        .arg(format!("--mtime=@{}", release.epoch))
        // The Debian package's scripts and lists are in the folder DEBIAN, which the tarball does
        // not need.
        .arg("--exclude=./DEBIAN")
        .arg(format!("--transform=s,^\\.,{folder},"))
        .arg("--directory")
        .arg(&tree.root)
        .arg(".");
    child::run(&mut tar)?;
    Ok(name)
}
