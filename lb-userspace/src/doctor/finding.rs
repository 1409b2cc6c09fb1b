//! Findings of `lb doctor`: what one check says about one subject, such as an interface.

use std::fmt::Display;

use serde::Serialize;

use super::check::Check;

/// The verdict of a check.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The check could not be made, or does not apply; the finding says why.
    Skipped,
    /// The check found nothing wrong.
    Ok,
    /// What the check examined works, but not as well or as safely as it could.
    Warn,
    /// What the check examined does not work, or will not work when it is needed.
    Fail,
}

impl State {
    /// Returns the name of the verdict, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check found about one subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The check that made the finding.
    pub check: &'static Check,
    /// What was examined, such as an interface or a file; empty for the host as a whole.
    pub subject: String,
    /// The verdict of the check about the subject.
    pub state: State,
    /// What the check found, as text without a full stop.
    pub found: String,
    /// How to fix what the check found, with commands in backticks; always present for the verdicts
    /// `warn` and `fail`.
    pub fix: Option<String>,
}

impl Check {
    /// Returns a finding of this check that nothing is wrong.
    pub(super) fn ok(&'static self, subject: impl Display, found: impl Display) -> Finding {
        self.finding(State::Ok, &subject, &found, None)
    }

    /// Returns a finding of this check that it could not be made; `found` says why.
    pub(super) fn skipped(&'static self, subject: impl Display, found: impl Display) -> Finding {
        self.finding(State::Skipped, &subject, &found, None)
    }

    /// Returns a warning of this check; `fix` says what to do about it.
    pub(super) fn warn(
        &'static self,
        subject: impl Display,
        found: impl Display,
        fix: impl Display,
    ) -> Finding {
        self.finding(State::Warn, &subject, &found, Some(fix.to_string()))
    }

    /// Returns a failure that this check found; `fix` says what to do about it.
    pub(super) fn fail(
        &'static self,
        subject: impl Display,
        found: impl Display,
        fix: impl Display,
    ) -> Finding {
        self.finding(State::Fail, &subject, &found, Some(fix.to_string()))
    }

    fn finding(
        &'static self,
        state: State,
        subject: &dyn Display,
        found: &dyn Display,
        fix: Option<String>,
    ) -> Finding {
        Finding {
            check: self,
            subject: subject.to_string(),
            state,
            found: found.to_string(),
            fix,
        }
    }
}
