//! Output of `lb doctor`.

use std::{fmt::Write as _, io, path::PathBuf};

use clap::Args;

use super::{DEFAULT_CONFIG, Failure, failed, has_colour, print, table::Style};
use crate::doctor::{self, Finding, Report, State};

/// Exit code if there are warnings and no failures.
const WARNINGS: u8 = 1;
/// Exit code if there are failures.
const FAILURES: u8 = 2;

/// The arguments of `lb doctor`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Examines the host and prints the report. Warnings and failures are in the exit code.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let report = doctor::examine(&arguments.config).map_err(failed)?;
    match arguments.json {
        true => print(&format!("{:#}\n", report.json()))?,
        false => print(&render(&report, has_colour(&io::stdout())))?,
    }
    match exit_code(&report) {
        0 => Ok(()),
        code => Err(Failure {
            text: String::new(),
            code,
        }),
    }
}

/// Returns the exit code for the worst finding: 0 if all is well, 1 for warnings, 2 for failures.
fn exit_code(report: &Report) -> u8 {
    match report.worst() {
        State::Skipped | State::Ok => 0,
        State::Warn => WARNINGS,
        State::Fail => FAILURES,
    }
}

/// Formats a report: a heading for each group, a line for each finding, its fix beneath, and a summary.
fn render(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for (group, findings) in report.groups() {
        // Writing to a string does not fail.
        _ = writeln!(text, "{}", Style::Bold.paint(group.heading(), colour));
        let width = findings.iter().map(|one| one.check.name.len()).max();
        for finding in findings {
            line(&mut text, finding, width.unwrap_or(0), colour);
        }
        text.push('\n');
    }
    text.push_str(&summary(report, colour));
    text
}

fn line(text: &mut String, finding: &Finding, width: usize, colour: bool) {
    let style = match finding.state {
        State::Ok => Style::Green,
        State::Warn => Style::Yellow,
        State::Fail => Style::Red,
        State::Skipped => Style::Faint,
    };
    let state = style.paint(&format!("{:<7}", finding.state.word()), colour);
    let name = finding.check.name;
    let subject = match finding.subject.is_empty() {
        true => String::new(),
        false => format!("{}: ", finding.subject),
    };
    let found = indented(&finding.found, "           ");
    _ = writeln!(text, "  {state}  {name:<width$}  {subject}{found}");
    if let Some(fix) = &finding.fix {
        _ = writeln!(text, "           fix: {}", indented(fix, "           "));
    }
}

/// Returns a text whose further lines, such as those of a quoted configuration, are indented.
fn indented(text: &str, by: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{by}"))
}

fn summary(report: &Report, colour: bool) -> String {
    let counts = report.counts();
    let counted = |count: usize, style: Style, word: &str| match count {
        0 => format!("0 {word}"),
        _ => style.paint(&format!("{count} {word}"), colour),
    };
    format!(
        "{}, {}, {}, {} skipped\n",
        counted(counts.fail, Style::Red, "fail"),
        counted(counts.warn, Style::Yellow, "warn"),
        counted(counts.ok, Style::Green, "ok"),
        counts.skipped,
    )
}
