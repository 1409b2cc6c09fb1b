//! Findings: what one check says about one thing.

use std::fmt::Display;

use serde::Serialize;

use super::check::Check;

/// The verdict of a check.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The check could not be made, or does not apply; the finding says why.
    Skipped,
    /// Nothing is wrong.
    Ok,
    /// It works, but not as well or as safely as it could.
    Warn,
    /// Something does not work, or will not when it is needed.
    Fail,
}

impl State {
    /// Returns the word for the state, as in JSON.
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

/// What a check found about one thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The check.
    pub check: &'static Check,
    /// What was examined, such as an interface or a file; empty for the host as a whole.
    pub subject: String,
    /// The verdict.
    pub state: State,
    /// What was found, without a full stop.
    pub found: String,
    /// What to do, with commands in backticks; always present for `warn` and `fail`.
    pub fix: Option<String>,
}

impl Check {
    /// Returns the finding that nothing is wrong.
    pub(super) fn ok(&'static self, subject: impl Display, found: impl Display) -> Finding {
        self.finding(State::Ok, &subject, &found, None)
    }

    /// Returns the finding that the check could not be made.
    pub(super) fn skipped(&'static self, subject: impl Display, found: impl Display) -> Finding {
        self.finding(State::Skipped, &subject, &found, None)
    }

    /// Returns a warning with what to do about it.
    pub(super) fn warn(
        &'static self,
        subject: impl Display,
        found: impl Display,
        fix: impl Display,
    ) -> Finding {
        self.finding(State::Warn, &subject, &found, Some(fix.to_string()))
    }

    /// Returns a failure with what to do about it.
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
