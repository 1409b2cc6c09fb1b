//! Which level of the log is in force: the one that an operator set for a time, else that of the
//! command line, else that of the configuration. Without I/O; time is an argument.

use std::time::Instant;

/// The level of the log before a configuration was read.
const USUAL: &str = "info";

/// The levels of the log by where they come from, each as text for a filter of `tracing`.
#[derive(Debug)]
pub(super) struct Level {
    /// The level given on the command line, which overrides that of the configuration; `None` if
    /// none was given.
    given: Option<String>,
    configured: String,
    temporary: Option<Temporary>,
}

#[derive(Debug)]
struct Temporary {
    levels: String,
    /// When the temporary level ends; `None` if it lasts until the agent ends.
    until: Option<Instant>,
}

impl Level {
    pub(super) fn new(given: Option<&str>) -> Self {
        Self {
            given: given.map(str::to_owned),
            configured: USUAL.to_owned(),
            temporary: None,
        }
    }

    pub(super) fn in_force(&self) -> &str {
        match (&self.temporary, &self.given) {
            (Some(temporary), _) => &temporary.levels,
            (None, Some(given)) => given,
            (None, None) => &self.configured,
        }
    }

    pub(super) fn configure(&mut self, levels: &str) {
        levels.clone_into(&mut self.configured);
    }

    pub(super) fn set(&mut self, levels: &str, until: Option<Instant>) {
        self.temporary = Some(Temporary {
            levels: levels.to_owned(),
            until,
        });
    }

    pub(super) fn reset(&mut self) {
        self.temporary = None;
    }

    /// Ends the temporary level if its time has passed at `now`. Returns whether it ended.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let until = self.temporary.as_ref().and_then(|it| it.until);
        let expired = until.is_some_and(|until| now >= until);
        if expired {
            self.temporary = None;
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_temporary_level_ends_after_its_time_and_leaves_the_configured_one() {
        let now = Instant::now();
        let minutes = |minutes: u64| now + Duration::from_secs(60 * minutes);
        let mut level = Level::new(None);
        assert_eq!(level.in_force(), "info");
        level.configure("warn");
        level.set("debug", Some(minutes(10)));
        level.configure("error");
        assert!(!level.expire(minutes(9)));
        assert_eq!(level.in_force(), "debug", "a reload does not end it");
        assert!(level.expire(minutes(10)));
        assert_eq!(level.in_force(), "error");
        assert!(!level.expire(minutes(11)), "it ended once");
        level.set("trace", None);
        assert!(!level.expire(minutes(10_000)));
        level.reset();
        assert_eq!(level.in_force(), "error");
    }

    #[test]
    fn the_command_line_overrides_the_configuration() {
        let mut level = Level::new(Some("lb=debug"));
        level.configure("error");
        assert_eq!(level.in_force(), "lb=debug");
    }
}
