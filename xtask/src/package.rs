//! `cargo xtask package`: a Debian package, an RPM, a tarball, their checksums and a bill of
//! materials.
//!
//! The distributions' own tools build the packages, because they derive the dependencies from the
//! binary: dpkg-shlibdeps and rpmbuild find the libraries and the versions of their symbols. Two
//! runs with the same binary give the same bytes: times are those of `SOURCE_DATE_EPOCH`, owners
//! are root, and lists are sorted.

mod archive;
mod deb;
mod rpm;
mod sbom;
mod tree;

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use self::tree::{Family, Tree};
use crate::{
    child, demo,
    setup::{self, Purpose},
    workspace::Workspace,
};

/// Options of `cargo xtask package`.
#[derive(Args)]
pub(crate) struct PackageArguments {
    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The directory for the packages, instead of target/package
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// The version of the packages, instead of the workspace's
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
    /// Compress less, to save time in tests
    #[arg(long, hide = true)]
    quick: bool,
}

/// What the packages of all formats have in common.
struct Release {
    /// The version of `lb`, without a revision of the package.
    version: String,
    /// The modification time of every packaged file, as decimal seconds since 1970.
    epoch: String,
    /// Whether to compress the packages little, which saves time in tests.
    quick: bool,
    /// Folder of the packaging files, `deploy/package`.
    sources: PathBuf,
    /// Folder for intermediate files.
    scratch: PathBuf,
    /// Folder into which the finished packages are written.
    out: PathBuf,
}

impl Release {
    /// Returns a command whose output depends neither on the time nor on the user's locale.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = child::command(program);
        command
            .env("SOURCE_DATE_EPOCH", &self.epoch)
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command
    }
}

/// Builds the packages and prints their checksums.
///
/// # Errors
/// A tool is missing, or failed.
pub(crate) fn run(workspace: &Workspace, arguments: PackageArguments) -> anyhow::Result<()> {
    setup::ensure(Purpose::Package)?;
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => {
            demo::build(workspace)?;
            workspace.release_binary("lb")
        }
    };
    let scratch = tempfile::tempdir()?;
    let release = Release {
        version: arguments
            .release
            .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        epoch: epoch(workspace)?,
        quick: arguments.quick,
        sources: workspace.root.join("deploy/package"),
        scratch: scratch.path().to_owned(),
        out: arguments
            .out
            .unwrap_or_else(|| workspace.target.join("package")),
    };
    ensure!(
        is_version(&release.version),
        "{} is not a version: digits, letters, `.`, `+` and `~`, beginning with a digit",
        release.version
    );
    replace(&release.out)?;
    let parts = Parts::prepare(&release, workspace, &binary)?;
    let debian = Tree::stage(&release, workspace, &parts, Family::Debian)?;
    let deb = deb::build(&release, &debian)?;
    let tarball = archive::build(&release, &debian)?;
    let rpm = rpm::build(
        &release,
        &Tree::stage(&release, workspace, &parts, Family::Rpm)?,
    )?;
    let bill = format!("lb-{}.cdx.json", release.version);
    fs::copy(&parts.sbom, release.out.join(&bill))?;
    checksums(&release, &[deb, rpm, tarball, bill])
}

/// Files that are made before the packages are.
struct Parts {
    /// The binary without debug information. Symbols stay, for the backtrace of a panic.
    binary: PathBuf,
    /// Folder of the manual pages.
    man: PathBuf,
    /// Folder of the completions for shells.
    completions: PathBuf,
    /// Path of the bill of materials.
    sbom: PathBuf,
}

impl Parts {
    fn prepare(release: &Release, workspace: &Workspace, binary: &Path) -> anyhow::Result<Self> {
        ensure!(binary.is_file(), "there is no binary {}", binary.display());
        let stripped = release.scratch.join("lb");
        let mut strip = release.command("strip");
        child::run(
            strip
                .args(["--strip-debug", "-o"])
                .args([&stripped, binary]),
        )?;
        let generated = release.scratch.join("generated");
        // The binary itself writes its manual pages and completions, so they match it.
        child::run(release.command(binary).arg("generate").arg(&generated))?;
        let man = generated.join("man");
        for page in sorted(&man)? {
            child::run(release.command("gzip").args(["-9", "-n"]).arg(page))?;
        }
        let sbom = release.scratch.join("sbom.cdx.json");
        fs::write(&sbom, sbom::document(workspace, &release.version)?)?;
        Ok(Self {
            binary: stripped,
            man,
            completions: generated.join("completions"),
            sbom,
        })
    }
}

/// Returns the modification time that all packaged files get: `SOURCE_DATE_EPOCH`, else the time of
/// the last commit.
fn epoch(workspace: &Workspace) -> anyhow::Result<String> {
    if let Ok(named) = env::var("SOURCE_DATE_EPOCH") {
        ensure!(
            named.parse::<u64>().is_ok(),
            "SOURCE_DATE_EPOCH is {named:?}, but must be seconds since 1970"
        );
        return Ok(named);
    }
    let mut git = child::command("git");
    git.current_dir(&workspace.root)
        .args(["log", "-1", "--format=%ct"]);
    child::output(&mut git).context(
        "the time of the last commit is unknown: set SOURCE_DATE_EPOCH (seconds since 1970)",
    )
}

/// Whether both package formats accept this as an upstream version.
fn is_version(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || ".+~".contains(one))
}

/// Creates an empty folder, in place of one that an earlier run left.
fn replace(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        let ours = sorted(folder)?
            .iter()
            .all(|file| file.is_file() && is_product(file));
        ensure!(
            ours,
            "{} has files that are not packages of lb: name another directory",
            folder.display()
        );
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(())
}

fn is_product(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name == "SHA256SUMS" || name.starts_with("lb-") || name.starts_with("lb_")
}

/// Returns the paths of a folder's entries, sorted.
fn sorted(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Writes `SHA256SUMS`, which `sha256sum --check` reads, and prints it.
fn checksums(release: &Release, names: &[String]) -> anyhow::Result<()> {
    let mut names = names.to_vec();
    names.sort();
    let mut sums = release.command("sha256sum");
    let sums = child::output(sums.current_dir(&release.out).args(&names))?;
    fs::write(release.out.join("SHA256SUMS"), format!("{sums}\n"))?;
    println!("{}:\n{sums}", release.out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_fits_both_formats() {
        assert!(is_version("0.1.0") && is_version("1.0~rc1+git5"));
        assert!(!is_version("1.0-1") && !is_version("v1") && !is_version(""));
    }

    #[test]
    fn a_folder_with_foreign_files_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("thesis.txt");
        fs::write(&file, "").expect("written");
        replace(folder.path()).expect_err("it has a foreign file");
        assert!(file.exists());
    }
}
