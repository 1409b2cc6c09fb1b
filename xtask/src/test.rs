//! `cargo xtask test` and `cargo xtask lint`: all checks and tests.

use std::{env::consts::ARCH, process::Command};

use crate::{
    checks::{self, HOST_PACKAGES, cargo},
    child, ebpf,
    setup::{self, Purpose},
    sim,
    steps::Steps,
    workspace::Workspace,
};

/// Runs all checks and tests, and prints a summary.
///
/// # Errors
/// A check or test failed. The others run anyway, unless a build failed.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    if steps.take("set-up", || setup::ensure(Purpose::Test))
        && steps.take("eBPF object", || ebpf::build_and_report(workspace))
    {
        static_checks(&mut steps, workspace);
        if steps.take("build", || build(workspace)) {
            steps.take("unit and property tests", || unit_tests(workspace));
            steps.take("simulated pairs", || sim::test(workspace));
            steps.take("kernel and end-to-end tests", || {
                integration_tests(workspace)
            });
        }
        if miri_is_usable() {
            steps.take("Miri over lb-common", || miri(workspace));
        } else {
            let why = "rustup's nightly has no miri with rust-src on this machine";
            steps.skip("Miri over lb-common", why);
        }
    }
    steps.sum_up()
}

/// Runs the checks without the tests: format, clippy, documentation, spelling, dependencies, and
/// the advisories about dependencies, which are fetched.
///
/// # Errors
/// A check failed.
pub(crate) fn lint(workspace: &Workspace) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    if steps.take("set-up", || setup::ensure(Purpose::Test))
        && steps.take("eBPF object", || ebpf::build_and_report(workspace))
    {
        static_checks(&mut steps, workspace);
        steps.take("advisories", || checks::advisories(workspace));
    }
    steps.sum_up()
}

fn static_checks(steps: &mut Steps, workspace: &Workspace) {
    steps.take("lock file", || checks::lock_file(workspace));
    steps.take("format", || checks::format(workspace));
    steps.take("spelling", || checks::spelling(workspace));
    steps.take("CloudFormation", || checks::cloud_formation(workspace));
    steps.take("dependencies", || checks::dependencies(workspace));
    steps.take("clippy", || checks::clippy(workspace));
    steps.take("clippy for eBPF", || checks::clippy_ebpf(workspace));
    steps.take("documentation", || checks::documentation(workspace));
}

/// Builds everything that the tests need. Checks, unit tests and the binaries for the end-to-end
/// tests share one cargo profile, so no dependency is compiled twice.
fn build(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(
        cargo(workspace)
            .arg("build")
            .args(HOST_PACKAGES)
            .args(["--bins", "--tests"]),
    )
}

fn unit_tests(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(cargo_test(workspace).args(["--lib", "--bins"]))
}

/// Runs the tests in the packages' `tests` directories, as root: many of them load BPF programs
/// into the kernel or create network namespaces.
fn integration_tests(workspace: &Workspace) -> anyhow::Result<()> {
    let mut tests = cargo_test(workspace);
    tests
        .args(["--test", "*"])
        .env("LB_BINARY", workspace.target.join("debug/lb"));
    if !child::is_root() {
        let runner = format!(
            "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
            ARCH.to_uppercase()
        );
        tests.env(runner, "sudo --preserve-env=LB_BINARY,LB_MOTO_SERVER,PATH");
    }
    child::run(&mut tests)
}

fn cargo_test(workspace: &Workspace) -> Command {
    let mut test = cargo(workspace);
    test.arg("test").args(HOST_PACKAGES).arg("--no-fail-fast");
    test
}

fn miri_is_usable() -> bool {
    child::output(nightly_cargo().args(["miri", "setup"])).is_ok()
}

/// Runs the tests of the packet logic under Miri, which detects undefined behaviour and overflow.
fn miri(workspace: &Workspace) -> anyhow::Result<()> {
    child::run(
        nightly_cargo()
            .args(["miri", "test", "--package", "lb-common"])
            .current_dir(&workspace.root)
            // Property tests run fewer cases than usual here, because Miri is slower by two orders
            // of magnitude.
            .env("PROPTEST_CASES", "16")
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", workspace.target.join("miri")),
    )
}

fn nightly_cargo() -> Command {
    let mut cargo = child::command("rustup");
    cargo.args(["run", "nightly", "cargo"]);
    cargo
}
