//! The report of `lb doctor`, which collects the findings of all checks.

use serde::Serialize;

use super::{
    catalogue,
    check::{Check, Group},
    finding::{Finding, State},
};

/// All findings of `lb doctor`, in the order of the groups of checks.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The findings, sorted by group and then by check.
    pub findings: Vec<Finding>,
}

/// The numbers of findings by verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Number of findings that nothing is wrong.
    pub ok: usize,
    /// Number of warnings.
    pub warn: usize,
    /// Number of failures.
    pub fail: usize,
    /// Number of checks that could not be made or do not apply.
    pub skipped: usize,
}

impl Report {
    /// Makes a report of these findings, and sorts them by group and then by check.
    pub(super) fn of(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (finding.check.group, place(finding.check)));
        Self { findings }
    }

    /// Counts the findings by verdict.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for finding in &self.findings {
            match finding.state {
                State::Ok => counts.ok += 1,
                State::Warn => counts.warn += 1,
                State::Fail => counts.fail += 1,
                State::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// Returns the worst verdict: `Ok` unless there is a warning or a failure.
    #[must_use]
    pub fn worst(&self) -> State {
        let states = self.findings.iter().map(|finding| finding.state);
        states.max().unwrap_or(State::Ok).max(State::Ok)
    }

    /// Returns the groups of checks that have findings, each with its findings, in the order of the
    /// output.
    pub fn groups(&self) -> impl Iterator<Item = (Group, &[Finding])> {
        let same = |a: &Finding, b: &Finding| a.check.group == b.check.group;
        self.findings
            .chunk_by(same)
            .filter_map(|findings| Some((findings.first()?.check.group, findings)))
    }

    /// Returns the report as JSON: `worst`, `counts`, and a list of `findings`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let findings = self.findings.iter().map(|finding| {
            serde_json::json!({
                "group": finding.check.group.word(),
                "check": finding.check.name,
                "subject": finding.subject,
                "state": finding.state,
                "found": finding.found,
                "fix": finding.fix,
            })
        });
        serde_json::json!({
            "worst": self.worst(),
            "counts": self.counts(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

/// Returns the position of a check in the catalogue of checks.
fn place(check: &Check) -> usize {
    catalogue::all()
        .position(|one| one.name == check.name)
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{files, kernel};

    #[test]
    fn a_report_is_grouped_and_says_the_worst() {
        let report = Report::of(vec![
            files::DISK.skipped("/x", "why"),
            kernel::BTF.warn("", "none", "upgrade"),
            kernel::VERSION.ok("", "6.18"),
        ]);
        assert_eq!(report.worst(), State::Warn);
        let groups: Vec<_> = report
            .groups()
            .map(|(group, findings)| (group.word(), findings.len()))
            .collect();
        assert_eq!(groups, [("kernel", 2), ("files", 1)]);
        assert_eq!(report.findings[0].check.name, "kernel_version");
        let counts = report.json()["counts"].clone();
        assert_eq!(
            counts,
            serde_json::json!({"ok": 1, "warn": 1, "fail": 0, "skipped": 1})
        );
        assert_eq!(report.json()["findings"][1]["fix"], "upgrade");
    }

    #[test]
    fn checks_that_were_skipped_are_not_worse_than_ok() {
        assert_eq!(Report::default().worst(), State::Ok);
        let skipped = Report::of(vec![files::DISK.skipped("/x", "why")]);
        assert_eq!(skipped.worst(), State::Ok);
    }
}
