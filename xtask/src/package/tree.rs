//! The files of a package, in the places where they will be installed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Parts, Release, sorted};
use crate::workspace::Workspace;

/// The family of distributions that a package is for: some files are installed at other paths in
/// one family than in the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// Debian and its relatives.
    Debian,
    /// Fedora, CentOS, Amazon Linux and their relatives.
    Rpm,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Rpm => "rpm",
        }
    }

    fn zsh(self) -> &'static str {
        match self {
            Self::Debian => "usr/share/zsh/vendor-completions",
            Self::Rpm => "usr/share/zsh/site-functions",
        }
    }

    fn licences(self) -> &'static str {
        match self {
            Self::Debian => "usr/share/doc/lb",
            Self::Rpm => "usr/share/licenses/lb",
        }
    }
}

/// A folder with the files of a package.
pub(super) struct Tree {
    /// Path of the folder.
    pub(super) root: PathBuf,
    /// Every file in the folder, sorted by path.
    pub(super) files: Vec<File>,
}

/// A file of a package.
pub(super) struct File {
    /// The path at which the file will be installed, without a leading slash.
    pub(super) path: String,
    /// The permission bits of the file, such as 0o644.
    pub(super) mode: u32,
    /// Whether the file is a configuration file, which an upgrade keeps if an administrator changed
    /// it.
    pub(super) configuration: bool,
}

impl Tree {
    /// Copies the files of a package into a folder of their own.
    ///
    /// # Errors
    /// A file is missing, or the file system refuses.
    pub(super) fn stage(
        release: &Release,
        workspace: &Workspace,
        parts: &Parts,
        family: Family,
    ) -> anyhow::Result<Self> {
        let mut tree = Self {
            root: release.scratch.join(family.name()),
            files: Vec::new(),
        };
        let (root, packaging) = (&workspace.root, &release.sources);
        tree.put(&parts.binary, "usr/bin/lb", 0o755)?;
        tree.text(
            &root.join("deploy/lb.service"),
            "usr/lib/systemd/system/lb.service",
        )?;
        tree.text(&packaging.join("lb.sysusers"), "usr/lib/sysusers.d/lb.conf")?;
        tree.text(&packaging.join("lb.tmpfiles"), "usr/lib/tmpfiles.d/lb.conf")?;
        tree.configuration(&packaging.join("lb.toml"), "etc/lb/lb.toml")?;
        tree.configuration(&packaging.join("lb.logrotate"), "etc/logrotate.d/lb")?;
        tree.folder(&parts.man, "usr/share/man/man1")?;
        let completion = |name| parts.completions.join(name);
        tree.text(
            &completion("lb.bash"),
            "usr/share/bash-completion/completions/lb",
        )?;
        tree.text(&completion("_lb"), &format!("{}/_lb", family.zsh()))?;
        tree.text(
            &completion("lb.fish"),
            "usr/share/fish/vendor_completions.d/lb.fish",
        )?;
        let doc = "usr/share/doc/lb";
        for name in ["README.md", "CHANGELOG.md"] {
            tree.text(&root.join(name), &format!("{doc}/{name}"))?;
        }
        for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
            tree.text(&root.join(name), &format!("{}/{name}", family.licences()))?;
        }
        tree.folder(&root.join("docs"), &format!("{doc}/docs"))?;
        tree.text(
            &root.join("deploy/lb.toml"),
            &format!("{doc}/examples/lb.toml"),
        )?;
        tree.text(&parts.sbom, &format!("{doc}/sbom.cdx.json"))?;
        if family == Family::Debian {
            tree.text(
                &packaging.join("deb/copyright"),
                &format!("{doc}/copyright"),
            )?;
        }
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    /// Returns the total size of all files in KiB, each file rounded up to full KiB.
    pub(super) fn kibibytes(&self) -> anyhow::Result<u64> {
        let size = |file: &File| {
            Ok(fs::metadata(self.root.join(&file.path))?
                .len()
                .div_ceil(1024))
        };
        self.files.iter().map(size).sum()
    }

    fn folder(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        for file in sorted(from)?.iter().filter(|entry| entry.is_file()) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            self.text(file, &format!("{to}/{name}"))?;
        }
        Ok(())
    }

    fn text(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        self.put(from, to, 0o644)
    }

    fn configuration(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        self.put(from, to, 0o644)?;
        let added = self
            .files
            .last_mut()
            .context("the list of packaged files is empty")?;
        added.configuration = true;
        Ok(())
    }

    fn put(&mut self, from: &Path, to: &str, mode: u32) -> anyhow::Result<()> {
        let target = self.root.join(to);
        let folder = target.parent().context("the path has a folder")?;
        create_folders(&self.root, folder)?;
        fs::copy(from, &target).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        self.files.push(File {
            path: to.to_owned(),
            mode,
            configuration: false,
        });
        Ok(())
    }
}

/// Creates a folder and those above it up to `root`, with mode 0755 whatever the umask is.
fn create_folders(root: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for one in folder.ancestors().take_while(|one| one.starts_with(root)) {
        fs::set_permissions(one, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
