//! The commands that install missing tools.

use std::{fmt, process::Command};

use anyhow::{Context as _, bail};

use super::{
    apt,
    debian::{DEBIAN_ROOT, DEBIAN_SUITE},
    need::{
        CARGO_DENY, CLIPPY_PACKAGE, COMPILER_PACKAGES, LINKER_PACKAGES, Need, Source, VENV_PACKAGE,
    },
    python::PythonPackage,
};
use crate::{
    child::{self, Privilege},
    ebpf::toolchain::BPF_LINKER,
    workspace::Workspace,
};

const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// A step of the installation of missing tools.
pub(crate) enum Remedy {
    /// Packages of the distribution, which one command installs.
    Apt(Vec<&'static str>),
    /// A command with its arguments and environment.
    Command {
        program: String,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
        privilege: Privilege,
    },
}

/// Returns the steps that install everything that is missing, in the order in which they must run.
///
/// # Errors
/// This distribution has no apt, or packages are missing and neither root nor sudo is available;
/// the error contains the list of packages.
pub(crate) fn plan(missing: &[&'static Need]) -> anyhow::Result<Vec<Remedy>> {
    let mut packages: Vec<&'static str> = Vec::new();
    let mut commands = Vec::new();
    let mut environments = Vec::new();
    for need in missing {
        match need.source {
            Source::Packages(names) => packages.extend(names),
            Source::EbpfCompiler if apt::offers_ebpf_compiler() => {
                packages.extend(COMPILER_PACKAGES);
            }
            Source::EbpfCompiler => commands.push(nightly()),
            Source::EbpfClippy if apt::offers_ebpf_compiler() => packages.push(CLIPPY_PACKAGE),
            Source::EbpfClippy => {
                commands.push(rustup(&[
                    "component",
                    "add",
                    "clippy",
                    "--toolchain",
                    "nightly",
                ]));
            }
            Source::BpfLinker => {
                packages.extend(LINKER_PACKAGES);
                commands.push(bpf_linker());
            }
            Source::RustupComponent(component) => {
                commands.push(rustup(&["component", "add", component]));
            }
            Source::BpfFileSystem => commands.push(mount_bpffs()),
            Source::CargoDeny => commands.push(cargo_deny()),
            Source::DebianRoot => {
                packages.push("debootstrap");
                commands.push(debian_root()?);
            }
            // Several tools may be in one virtual environment of Python, which needs only one step.
            Source::Python(package) if environments.contains(&package) => {}
            Source::Python(package) => {
                environments.push(package);
                if !python_makes_environments() {
                    packages.push(VENV_PACKAGE);
                }
                commands.extend(python(&package)?);
            }
        }
    }
    packages.retain(|package| !apt::is_installed(package));
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() && !apt::is_here() {
        bail!(
            "this distribution has no apt-get: install the missing tools (Debian's packages: {}) \
             manually, then run the command again",
            packages.join(" ")
        );
    }
    let mut remedies = Vec::new();
    if !packages.is_empty() {
        remedies.push(Remedy::Apt(packages));
    }
    remedies.extend(commands);
    Ok(remedies)
}

impl Remedy {
    /// Runs the step, whose output is shown.
    ///
    /// # Errors
    /// The step failed.
    pub(crate) fn apply(&self) -> anyhow::Result<()> {
        match self {
            Self::Apt(packages) => apt::install(packages),
            Self::Command { .. } => child::run(&mut self.command()?).with_context(|| {
                format!("a step of the set-up failed; run it manually, then try again: {self}")
            }),
        }
    }

    fn command(&self) -> anyhow::Result<Command> {
        let Self::Command {
            program,
            arguments,
            environment,
            privilege,
        } = self
        else {
            bail!("the packages of apt are not installed by a single command");
        };
        let mut command = privilege.command(program)?;
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apt(packages) => write!(
                f,
                "apt-get install --no-install-recommends {} (no service is started)",
                packages.join(" ")
            ),
            Self::Command {
                program,
                arguments,
                environment,
                ..
            } => {
                for (name, value) in environment {
                    write!(f, "{name}={value} ")?;
                }
                write!(f, "{program} {}", arguments.join(" "))
            }
        }
    }
}

fn nightly() -> Remedy {
    rustup(&[
        "toolchain",
        "install",
        "nightly",
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ])
}

fn rustup(arguments: &[&str]) -> Remedy {
    Remedy::Command {
        program: "rustup".to_owned(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: Vec::new(),
        privilege: Privilege::User,
    }
}

fn bpf_linker() -> Remedy {
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        BPF_LINKER,
        "--locked",
        "--no-default-features",
        "--features",
        "llvm-22",
    ];
    Remedy::Command {
        program: "cargo".to_owned(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: vec![("LLVM_PREFIX", LLVM_PREFIX.to_owned())],
        privilege: Privilege::User,
    }
}

fn cargo_deny() -> Remedy {
    let arguments = [
        "install",
        "cargo-deny",
        "--version",
        CARGO_DENY,
        "--locked",
        "--debug",
    ];
    Remedy::Command {
        program: "cargo".to_owned(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        privilege: Privilege::User,
    }
}

/// Returns whether Python can create virtual environments, for which Debian has a separate package.
fn python_makes_environments() -> bool {
    child::output(child::command("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}

fn python(package: &PythonPackage) -> anyhow::Result<[Remedy; 2]> {
    let environment = Workspace::find()?.target.join(package.directory);
    let environment = environment
        .to_str()
        .context("the target directory's name is not UTF-8")?;
    let remedy = |program: String, arguments: &[&str]| Remedy::Command {
        program,
        arguments: arguments.iter().map(ToString::to_string).collect(),
        environment: Vec::new(),
        privilege: Privilege::User,
    };
    Ok([
        remedy(
            "python3".to_owned(),
            // The option `--clear` replaces what an interrupted attempt or another requirement
            // left. The prompt records the requirement (`PythonPackage::is_outdated`).
            &[
                "-m",
                "venv",
                "--clear",
                "--prompt",
                package.requirement,
                environment,
            ],
        ),
        remedy(
            format!("{environment}/bin/pip"),
            &[
                "install",
                "--quiet",
                "--disable-pip-version-check",
                package.requirement,
            ],
        ),
    ])
}

/// Returns the step that makes a clean Debian system with systemd's tools, from debootstrap's
/// default mirror or the one that `LB_DEBIAN_MIRROR` names.
fn debian_root() -> anyhow::Result<Remedy> {
    let root = Workspace::find()?.target.join(DEBIAN_ROOT);
    let root = root
        .to_str()
        .context("the target directory's name is not UTF-8")?;
    // debootstrap leaves a second sysfs on /sys, which hides the BPF file system, so it gets a
    // mount namespace that ends with it.
    let mut arguments: Vec<_> = [
        "--mount",
        "--propagation",
        "private",
        "debootstrap",
        "--variant=minbase",
        "--include=systemd,ca-certificates,libgcc-s1",
        DEBIAN_SUITE,
        root,
    ]
    .map(str::to_owned)
    .into();
    arguments.extend(std::env::var("LB_DEBIAN_MIRROR").ok());
    Ok(Remedy::Command {
        program: "unshare".to_owned(),
        arguments,
        environment: Vec::new(),
        privilege: Privilege::Root,
    })
}

fn mount_bpffs() -> Remedy {
    let arguments = ["-t", "bpf", "bpf", "/sys/fs/bpf"];
    Remedy::Command {
        program: "mount".to_owned(),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: Vec::new(),
        privilege: Privilege::Root,
    }
}
