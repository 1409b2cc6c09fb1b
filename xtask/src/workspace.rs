//! Paths in this repository.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The directories of the repository.
pub(crate) struct Workspace {
    /// The root of the repository, which has the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// The directory that cargo builds into, which `CARGO_TARGET_DIR` may set.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Returns the workspace that this program was built from.
    ///
    /// # Errors
    /// The repository was moved after this program was built.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package
            .parent()
            .filter(|root| root.join("Cargo.toml").is_file())
            .with_context(|| {
                format!(
                    "this xtask was built in {}, which is no longer a workspace: \
                     run `cargo xtask` in the repository",
                    package.display()
                )
            })?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR")
            .filter(|directory| !directory.is_empty())
            // If the variable has a relative path, that is relative to the working directory of
            // cargo and xtask.
            .map_or_else(|| Ok(root.join("target")), std::path::absolute)
            .context("CARGO_TARGET_DIR is not a valid path")?;
        Ok(Self { root, target })
    }

    /// Returns the path of a binary that is built with the release profile.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Returns the output directory of `cargo xtask build-ebpf`, which has one `NAME.o` for each
    /// binary of `lb-ebpf`.
    pub(crate) fn ebpf_objects(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Returns the path of a program in the virtual environment with this name, which `cargo xtask
    /// setup` creates.
    pub(crate) fn python(&self, environment: &str, program: &str) -> PathBuf {
        self.target.join(environment).join("bin").join(program)
    }
}
