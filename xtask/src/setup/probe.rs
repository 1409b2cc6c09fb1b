//! Detects installed tools.

use std::{env, path::PathBuf};

use super::{
    debian::DEBIAN_ROOT,
    python::{AWS_CLI, MOTO, TYPOS},
};
use crate::{
    child,
    ebpf::toolchain::{self, BPF_LINKER},
    workspace::Workspace,
};

/// How it is detected whether a tool is installed.
pub(crate) enum Probe {
    /// The program with this name is found.
    Program(&'static str),
    /// All of these programs are found.
    Programs(&'static [&'static str]),
    /// The command `cargo NAME` works with the toolchain that runs xtask.
    CargoCommand(&'static str),
    /// One of the two compilers for eBPF is found.
    EbpfCompiler,
    /// Clippy is found beside the compiler for eBPF.
    EbpfClippy,
    /// bpf-linker is found in the tested version, or a later one.
    BpfLinker,
    /// A BPF file system is mounted at `/sys/fs/bpf`.
    BpfFileSystem,
    /// moto's server, which simulates the EC2 API, is found where [`moto`] searches.
    Moto,
    /// The AWS CLI is found where the end-to-end tests search for it.
    AwsCli,
    /// The spell checker typos is found in its virtual environment or on `PATH`.
    Typos,
    /// A complete clean Debian system is found in the target directory.
    DebianRoot,
    /// A package of Python is found in its virtual environment. The values are the environment's
    /// directory within the target directory, and the package's name.
    PythonPackage(&'static str, &'static str),
    /// cfn-lint is found in moto's virtual environment or on `PATH`.
    CfnLint,
}

impl Probe {
    /// Returns a short description of what was found, such as a path or version; `None` if the tool
    /// is missing.
    pub(crate) fn look(&self) -> Option<String> {
        match self {
            Self::Program(name) => program(name),
            Self::Programs(names) => {
                let found: Option<Vec<_>> = names.iter().map(|name| program(name)).collect();
                found?.into_iter().next()
            }
            Self::CargoCommand(name) => {
                child::output(child::command("cargo").args([name, "--version"])).ok()
            }
            Self::EbpfCompiler => Some(toolchain::Compiler::find().ok()?.short()),
            Self::EbpfClippy => toolchain::Compiler::find().ok()?.clippy(),
            Self::BpfLinker => bpf_linker(),
            Self::BpfFileSystem => bpf_file_system(),
            Self::Moto => moto(),
            Self::AwsCli => aws_cli(),
            Self::Typos => Some(typos()?.display().to_string()),
            Self::DebianRoot => debian_root(),
            Self::PythonPackage(directory, name) => python_package(directory, name),
            Self::CfnLint => Some(cfn_lint()?.display().to_string()),
        }
    }
}

fn program(name: &str) -> Option<String> {
    Some(child::find_program(name)?.display().to_string())
}

fn bpf_linker() -> Option<String> {
    let says = child::output(child::command("bpf-linker").arg("--version")).ok()?;
    let version = says.split_whitespace().last()?;
    (numbers(version) >= numbers(BPF_LINKER)).then(|| says.clone())
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split(['.', '-'])
        .map_while(|number| number.parse().ok())
        .collect()
}

fn bpf_file_system() -> Option<String> {
    // The list of mounts would not say that a later mount hides this one.
    let arguments = ["--file-system", "--format=%T", "/sys/fs/bpf"];
    let kind = child::output(child::command("stat").args(arguments)).ok()?;
    (kind.trim() == "bpf_fs").then(|| "/sys/fs/bpf".to_owned())
}

/// Finds moto's server where the end-to-end tests do: by an environment variable, in the target
/// directory, or on `PATH`. A server without cfn-lint beside it has no CloudFormation.
fn moto() -> Option<String> {
    if let Some(named) = env::var_os("LB_MOTO_SERVER").map(PathBuf::from) {
        return named.is_file().then(|| named.display().to_string());
    }
    let installed = Workspace::find()
        .ok()?
        .python(MOTO.directory, "moto_server");
    if installed.is_file() {
        let complete = installed.with_file_name("cfn-lint").is_file();
        return complete.then(|| installed.display().to_string());
    }
    child::find_program("cfn-lint").and_then(|_| program("moto_server"))
}

/// Returns the path of the Debian system that debootstrap made; `None` if it is missing or
/// incomplete. A debootstrap that failed leaves a folder `debootstrap` in the system.
fn debian_root() -> Option<String> {
    let root = Workspace::find().ok()?.target.join(DEBIAN_ROOT);
    let complete =
        root.join("usr/bin/systemd-sysusers").is_file() && !root.join("debootstrap").exists();
    complete.then(|| root.display().to_string())
}

/// Returns the version of a package of Python in its virtual environment; `None` if it is not
/// installed.
fn python_package(directory: &str, name: &str) -> Option<String> {
    let python = Workspace::find().ok()?.python(directory, "python3");
    let version = format!("import importlib.metadata as m; print(m.version('{name}'))");
    child::output(child::command(python.to_str()?).args(["-c", &version])).ok()
}

/// Finds the linter of CloudFormation's templates; `None` if it is not installed.
pub(crate) fn cfn_lint() -> Option<PathBuf> {
    let installed = Workspace::find().ok()?.python(MOTO.directory, "cfn-lint");
    if installed.is_file() {
        return Some(installed);
    }
    child::find_program("cfn-lint")
}

/// Finds the AWS CLI where the end-to-end tests do: in the target directory, or on `PATH`.
fn aws_cli() -> Option<String> {
    let installed = Workspace::find().ok()?.python(AWS_CLI.directory, "aws");
    if installed.is_file() {
        return Some(installed.display().to_string());
    }
    program("aws")
}

/// Finds the spell checker typos; `None` if it is not installed.
pub(crate) fn typos() -> Option<PathBuf> {
    let installed = Workspace::find().ok()?.python(TYPOS.directory, "typos");
    if installed.is_file() {
        return Some(installed);
    }
    child::find_program("typos")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.13.0") >= numbers("0.13.0"));
        assert!(numbers("0.9.15") < numbers("0.13.0"));
        assert!(numbers("1.0.0-rc1") > numbers("0.13.0"));
        assert!(numbers("unknown") < numbers("0.13.0"));
    }
}
