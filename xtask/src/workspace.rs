//! Paths in this repository.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The repository and its target directory.
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, which `CARGO_TARGET_DIR` may set.
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
            // A relative path is relative to the working directory of cargo and xtask.
            .map_or_else(|| Ok(root.join("target")), std::path::absolute)
            .context("CARGO_TARGET_DIR is not a valid path")?;
        Ok(Self { root, target })
    }

    /// Path of a release binary.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Output directory of `build-ebpf`: one `NAME.o` for each binary of `lb-ebpf`.
    pub(crate) fn ebpf_objects(&self) -> PathBuf {
        self.target.join("ebpf")
    }

    /// Path of a program in the virtual environment of this name, which `setup` creates.
    pub(crate) fn python(&self, environment: &str, program: &str) -> PathBuf {
        self.target.join(environment).join("bin").join(program)
    }
}
