//! Builds the package `lb-ebpf` for the kernel.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::toolchain::Toolchain;
use crate::{child, workspace::Workspace};

/// Builds `lb-ebpf`; returns the paths of the objects, as copied to [`Workspace::ebpf_objects`].
///
/// # Errors
/// The build failed, or an object could not be copied.
pub(crate) fn objects(
    workspace: &Workspace,
    toolchain: &Toolchain,
) -> anyhow::Result<Vec<PathBuf>> {
    let built = build(workspace, toolchain)?;
    if built.is_empty() {
        bail!("the package lb-ebpf was built, but has no binary, so that there is no eBPF object");
    }
    built
        .iter()
        .map(|executable| publish(executable, &workspace.ebpf_objects()))
        .collect()
}

fn build(workspace: &Workspace, toolchain: &Toolchain) -> anyhow::Result<Vec<PathBuf>> {
    let mut cargo = toolchain.cargo("build");
    cargo
        .args(["--release", "--package", "lb-ebpf"])
        .arg("--message-format=json-render-diagnostics")
        // The build has a separate target directory: its flags and compiler differ from those of
        // the host's build, and each build would invalidate the other.
        .arg("--target-dir")
        .arg(workspace.target.join("ebpf-build"))
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut running = cargo
        .spawn()
        .with_context(|| format!("could not start `{}`", child::line(&cargo)))?;
    let messages = running
        .stdout
        .take()
        .context("cargo's standard output is not a pipe")?;
    let mut executables = Vec::new();
    for line in BufReader::new(messages).lines() {
        let line = line.context("could not read cargo's output")?;
        // Other programs may print lines between cargo's messages, so a line that does not parse is
        // skipped.
        if let Ok(Message {
            executable: Some(executable),
        }) = serde_json::from_str(&line)
        {
            executables.push(executable);
        }
    }
    let status = running.wait().context("could not wait for cargo")?;
    if !status.success() {
        bail!("lb-ebpf was not built: `{}`: {status}", child::line(&cargo));
    }
    Ok(executables)
}

/// The part of cargo's `compiler-artifact` message that is used here.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Copies an object to the directory where the agent's build script finds it. An identical file
/// there is left untouched, so that the agent is not rebuilt. Returns the path of the copy.
fn publish(executable: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let name = executable
        .file_name()
        .with_context(|| format!("{} names no file", executable.display()))?;
    let object = directory.join(name).with_extension("o");
    let bytes = fs::read(executable)
        .with_context(|| format!("could not read the object {}", executable.display()))?;
    if fs::read(&object).ok().as_deref() != Some(&*bytes) {
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&object, &bytes))
            .with_context(|| format!("could not write the object {}", object.display()))?;
    }
    Ok(object)
}
