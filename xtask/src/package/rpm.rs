//! Builds the RPM package.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::{Release, tree::Tree};
use crate::child;

/// The folders that belong to this package alone, so that removing the package removes them.
const FOLDERS: [&str; 5] = [
    "/etc/lb",
    "/usr/share/doc/lb",
    "/usr/share/doc/lb/docs",
    "/usr/share/doc/lb/examples",
    "/usr/share/licenses/lb",
];

/// Builds the package and returns its file name.
///
/// # Errors
/// rpmbuild failed.
pub(super) fn build(release: &Release, tree: &Tree) -> anyhow::Result<String> {
    let architecture = std::env::consts::ARCH;
    let name = format!("lb-{}-1.{architecture}.rpm", release.version);
    let scratch = release.scratch.join("rpmbuild");
    let scripts = scratch.join("scripts");
    fs::create_dir_all(&scripts)?;
    let common = read(&release.sources.join("common.sh"))?;
    for script in ["post", "preun", "postun"] {
        let own = read(&release.sources.join("rpm").join(script))?;
        fs::write(scripts.join(script), format!("set -eu\n{common}\n{own}"))?;
    }
    let files = scratch.join("files");
    fs::write(&files, list(tree))?;
    let payload = if release.quick {
        "w1.gzdio"
    } else {
        "w6.xzdio"
    };
    let mut build = release.command("rpmbuild");
    build.args(["-bb", "--quiet", "--target", architecture]);
    let definitions = [
        ("_topdir", scratch.as_path()),
        ("_dbpath", &scratch.join("database")),
        ("_tmppath", &scratch.join("tmp")),
        ("_rpmdir", &release.out),
        ("_rpmfilename", Path::new(&name)),
        ("lb_version", Path::new(&release.version)),
        ("lb_tree", &tree.root),
        ("lb_files", &files),
        ("lb_scripts", &scripts),
        ("lb_payload", Path::new(payload)),
    ];
    for (macro_name, value) in definitions {
        build
            .arg("--define")
            .arg(format!("{macro_name} {}", value.display()));
    }
    child::output(build.arg(release.sources.join("rpm/lb.spec")))?;
    Ok(name)
}

/// Returns the section `%files`: every file with its owner and mode.
fn list(tree: &Tree) -> String {
    let folders = FOLDERS.map(|folder| format!("%dir %attr(0755,root,root) {folder}\n"));
    let files = tree.files.iter().map(|file| {
        let kind = match &file.path {
            _ if file.configuration => "%config(noreplace) ",
            path if path.starts_with("usr/share/licenses/") => "%license ",
            path if path.starts_with("usr/share/doc/") => "%doc ",
            _ => "",
        };
        format!("{kind}%attr({:04o},root,root) /{}\n", file.mode, file.path)
    });
    folders.into_iter().chain(files).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
