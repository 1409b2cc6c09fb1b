//! Installs the tools that are needed to build, try and test what is in this repository.

mod apt;
mod debian;
mod install;
mod need;
mod probe;
mod python;

use anyhow::bail;
use clap::ValueEnum;

use self::need::{NEEDS, Need};
pub(crate) use self::probe::{cfn_lint, typos};
use crate::table::{Column, Table};

/// Why tools are needed: the command that needs them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Purpose {
    /// `cargo xtask build-ebpf` and `build`.
    Build,
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask demo --monitoring`, in addition to those of the demo.
    Monitoring,
    /// `cargo xtask test`.
    Test,
    /// `cargo xtask bench`.
    Bench,
    /// `cargo xtask package`.
    Package,
}

/// Prints every required tool and its state, and installs those that are missing.
///
/// # Errors
/// Something is missing and cannot be installed here, or an installation failed.
pub(crate) fn run(purposes: &[Purpose], dry_run: bool) -> anyhow::Result<()> {
    let needs = needs_of(purposes);
    let states = examine(&needs);
    println!("{}", table(&states));
    let missing = unmet(states);
    if missing.is_empty() {
        println!("Nothing is missing.");
        return Ok(());
    }
    if !dry_run {
        return install(&needs, &missing);
    }
    println!("Required steps:");
    for remedy in install::plan(&missing)? {
        println!("  {remedy}");
    }
    println!("\nBased on the package lists of this machine, which may be out of date.");
    Ok(())
}

/// Installs the tools that a command needs before the command runs. Prints only one line if nothing
/// is missing.
///
/// # Errors
/// The same as of [`run`].
pub(crate) fn ensure(purpose: Purpose) -> anyhow::Result<()> {
    let needs = needs_of(&[purpose]);
    let states = examine(&needs);
    if states.iter().all(|state| state.found.is_some()) {
        println!(
            "setup: all {} tools that this command needs are present",
            needs.len()
        );
        return Ok(());
    }
    println!("setup: something is missing");
    println!("{}", table(&states));
    install(&needs, &unmet(states))
}

/// A tool that a command needs, and whether it was found.
struct State {
    need: &'static Need,
    /// The path or version of the tool; `None` if it is missing or outdated.
    found: Option<String>,
}

fn needs_of(purposes: &[Purpose]) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| {
            need.purposes
                .iter()
                .any(|purpose| purposes.contains(purpose))
        })
        .collect()
}

fn examine(needs: &[&'static Need]) -> Vec<State> {
    needs
        .iter()
        .map(|need| State {
            need,
            found: (need.probe.look()).filter(|_| !need.source.is_outdated()),
        })
        .collect()
}

fn unmet(states: Vec<State>) -> Vec<&'static Need> {
    states
        .into_iter()
        .filter(|state| state.found.is_none())
        .map(|state| state.need)
        .collect()
}

fn table(states: &[State]) -> Table<3> {
    let mut table = Table::new([
        Column::Left("need"),
        Column::Left("why"),
        Column::Left("state"),
    ]);
    for State { need, found } in states {
        table.row([
            need.name.to_owned(),
            need.why.to_owned(),
            found.clone().unwrap_or_else(|| {
                let state = match need.source.is_outdated() {
                    true => "OUTDATED",
                    false => "MISSING",
                };
                format!("{state}; from {}", need.source)
            }),
        ]);
    }
    table
}

fn install(needs: &[&'static Need], missing: &[&'static Need]) -> anyhow::Result<()> {
    if apt::is_here() && missing.iter().any(|need| need.source.uses_apt()) {
        apt::refresh()?;
    }
    let remedies = install::plan(missing)?;
    for (number, remedy) in (1..).zip(&remedies) {
        println!("[{number}/{}] {remedy}", remedies.len());
        remedy.apply()?;
    }
    let left: Vec<_> = unmet(examine(needs)).iter().map(|need| need.name).collect();
    if !left.is_empty() {
        bail!(
            "installation succeeded, but these are still missing: {}",
            left.join(", ")
        );
    }
    println!("setup: complete");
    Ok(())
}
