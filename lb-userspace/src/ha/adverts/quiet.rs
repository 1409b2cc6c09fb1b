//! Limits the rate of log lines that the network can cause.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

/// Shortest time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a line of a kind may be logged.
#[derive(Debug, Default)]
pub(super) struct Quiet(HashMap<&'static str, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

/// Number of lines left out, to be appended to the next one; displays nothing for zero.
#[derive(Debug)]
pub(super) struct LeftOut(u64);

impl Quiet {
    /// Returns the number to append to a line of this kind, or `None` if it must not be logged now.
    pub(super) fn may_say(&mut self, kind: &'static str) -> Option<LeftOut> {
        let now = Instant::now();
        match self.0.get_mut(kind) {
            Some(said) if now.duration_since(said.at) < PAUSE => {
                said.since += 1;
                None
            }
            earlier => {
                let left_out = earlier.map_or(0, |said| said.since);
                self.0.insert(kind, Said { at: now, since: 0 });
                Some(LeftOut(left_out))
            }
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (once more since this was last said)"),
            times => write!(f, " ({times} times more since this was last said)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_said_once_and_others_are_not_silenced_by_it() {
        let mut quiet = Quiet::default();
        let said = quiet.may_say("checksum").map(|left| left.to_string());
        assert_eq!(said.as_deref(), Some(""));
        assert!(quiet.may_say("checksum").is_none());
        assert!(quiet.may_say("hmac").is_some());
    }

    #[test]
    fn after_a_pause_it_is_said_how_many_were_left_out() {
        let mut quiet = Quiet::default();
        let long_ago = Instant::now()
            .checked_sub(PAUSE)
            .expect("a clock that is on");
        quiet.0.insert(
            "checksum",
            Said {
                at: long_ago,
                since: 7,
            },
        );
        let said = quiet.may_say("checksum").map(|left| left.to_string());
        let behind = " (7 times more since this was last said)";
        assert_eq!(said.as_deref(), Some(behind));
        assert!(quiet.may_say("checksum").is_none());
    }
}
