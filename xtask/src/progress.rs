//! Runs a cargo build and reports its progress.
//!
//! On a terminal cargo shows a progress bar. Elsewhere (in a log or CI) it prints a line when it
//! begins to compile a package, and nothing until it begins the next one, which for the largest
//! package takes minutes. In that case this module prints a line every half minute that names the
//! packages that are being compiled.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, IsTerminal as _, Read},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::child;

const EVERY: Duration = Duration::from_secs(30);

/// Runs a cargo command that builds.
///
/// # Errors
/// Cargo could not be started, or the build failed.
pub(crate) fn build(command: &mut Command) -> anyhow::Result<()> {
    if std::io::stderr().is_terminal() {
        return child::run(command);
    }
    let began = Instant::now();
    let mut cargo = command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`", child::line(command)))?;
    let (stdout, stderr) = (cargo.stdout.take(), cargo.stderr.take());
    let (stdout, stderr) = stdout.zip(stderr).context("cargo has no output pipes")?;
    let compiling = Compiling::default();
    thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let (compiling, ended) = (&compiling, ended);
        scope.spawn(move || {
            while end.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                compiling.report(began.elapsed());
            }
        });
        scope.spawn(move || compiling.started(stderr));
        compiling.finished(stdout);
        drop(ended);
    });
    let status = cargo.wait().context("could not wait for cargo")?;
    if !status.success() {
        bail!("`{}` failed: {status}", child::line(command));
    }
    Ok(())
}

/// The names of the packages that are being compiled now.
#[derive(Default)]
struct Compiling(Mutex<BTreeSet<String>>);

impl Compiling {
    /// Reads and prints the messages that cargo prints for people. Adds each package that cargo
    /// begins to compile to the names in `self`.
    fn started(&self, messages: impl Read) {
        for line in BufReader::new(messages).lines().map_while(Result::ok) {
            eprintln!("{line}");
            if let Some(package) = package_of(&line) {
                self.change(|packages| packages.insert(package.to_owned()));
            }
        }
    }

    /// Reads cargo's messages in JSON. Removes each package that cargo has compiled from the names
    /// in `self`.
    fn finished(&self, messages: impl Read) {
        for line in BufReader::new(messages).lines().map_while(Result::ok) {
            if let Some(package) = finished(&line) {
                self.change(|packages| packages.remove(&package));
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        let mut packages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _changed = change(&mut packages);
    }

    fn report(&self, elapsed: Duration) {
        let packages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = packages.iter().map(String::as_str).collect();
        let now = match &*names {
            [] => "linking".to_owned(),
            names => format!("compiling {}", names.join(", ")),
        };
        eprintln!("    Building for {}, now {now}", minutes(elapsed));
    }
}

/// Returns the package that a line of cargo such as `   Compiling tokio v1.54.1 (…)` names; `None`
/// for other lines.
fn package_of(line: &str) -> Option<&str> {
    line.trim_start()
        .strip_prefix("Compiling ")?
        .split(' ')
        .next()
}

/// Returns the package that a message in JSON reports as compiled; `None` for other messages, and
/// for the build script of a package.
fn finished(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = &message["target"];
    let is_artifact = message["reason"] == "compiler-artifact";
    let is_script = target["kind"][0] == "custom-build";
    if !is_artifact || is_script {
        return None;
    }
    // IDs of packages look like `registry+https://…#tokio@1.54.1` or `path+file:///…/lb-ha#0.1.0`.
    let id = message["package_id"].as_str()?;
    let (place, name) = id.rsplit_once('#')?;
    let name = name.split_once('@').map(|(name, _)| name);
    Some(name.or_else(|| place.rsplit('/').next())?.to_owned())
}

/// Formats a time in minutes and seconds, such as `3 min 05 s`.
fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_compiled_from_its_line_until_its_artifact() {
        let compiling = Compiling::default();
        compiling
            .started("   Compiling tokio v1.54.1\n   Compiling lb-ha v0.1.0 (/x)\n".as_bytes());
        let artifact = |id: &str, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","target":{{"kind":["{kind}"]}}}}"#
            )
        };
        let left = || {
            compiling
                .0
                .lock()
                .expect("no panic")
                .iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        let script = artifact("registry+https://index#tokio@1.54.1", "custom-build");
        compiling.finished(script.as_bytes());
        assert_eq!(left(), ["lb-ha", "tokio"]);
        let library = artifact("registry+https://index#tokio@1.54.1", "lib");
        compiling.finished(library.as_bytes());
        assert_eq!(left(), ["lb-ha"]);
        let library = artifact("path+file:///x/lb-ha#0.1.0", "lib");
        compiling.finished(library.as_bytes());
        assert_eq!(left(), [""; 0]);
    }

    #[test]
    fn times_are_in_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_secs(59)), "59 s");
        assert_eq!(minutes(Duration::from_secs(185)), "3 min 05 s");
    }
}
