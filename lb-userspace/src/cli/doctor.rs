//! Output of `lb doctor`.

use std::{fmt::Write as _, io, path::PathBuf};

use clap::Args;

use super::{DEFAULT_CONFIG, Failure, failed, has_colour, print, table::Style};
use crate::doctor::{self, Finding, Report, State};

/// Exit code of `lb doctor` if there are warnings and no failures.
const WARNINGS: u8 = 1;
/// Exit code of `lb doctor` if there are failures.
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

/// Returns the exit code for the worst finding: 0 if all checks passed, 1 for warnings, 2 for
/// failures.
fn exit_code(report: &Report) -> u8 {
    match report.worst() {
        State::Skipped | State::Ok => 0,
        State::Warn => WARNINGS,
        State::Fail => FAILURES,
    }
}

/// Formats a report: a heading for each group, a line for each finding, its fix beneath, and a
/// summary.
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

/// Returns `text` with all lines after the first one, such as those of a quoted configuration,
/// indented by `by`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::all;

    fn report(states: &[State]) -> Report {
        let check = all().next().expect("a check");
        let findings = states.iter().map(|&state| Finding {
            check,
            subject: "/etc/lb/lb.toml".to_owned(),
            state,
            found: "found\nmore".to_owned(),
            fix: (state >= State::Warn).then(|| "`do this`".to_owned()),
        });
        Report {
            findings: findings.collect(),
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_line() {
        assert_eq!(exit_code(&report(&[])), 0);
        assert_eq!(exit_code(&report(&[State::Ok, State::Skipped])), 0);
        assert_eq!(exit_code(&report(&[State::Warn, State::Ok])), 1);
        assert_eq!(exit_code(&report(&[State::Fail, State::Warn])), 2);
    }

    #[test]
    fn a_fix_is_beneath_its_line_and_the_last_line_counts() {
        assert_eq!(
            render(&report(&[State::Ok, State::Fail]), false),
            "Configuration and agent\n  \
             ok       configuration  /etc/lb/lb.toml: found\n           more\n  \
             fail     configuration  /etc/lb/lb.toml: found\n           more\n           \
             fix: `do this`\n\n\
             1 fail, 0 warn, 1 ok, 0 skipped\n"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let report = report(&[State::Fail]);
        assert!(render(&report, true).contains("\x1b[1;31mfail   \x1b[0m"));
        assert!(!render(&report, false).contains('\x1b'));
    }
}
