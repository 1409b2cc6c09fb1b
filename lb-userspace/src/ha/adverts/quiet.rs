//! Limits the rate of log lines that packets from the network can cause.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Shortest time between two log lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a log line of a given kind may be written now.
#[derive(Debug, Default)]
pub(super) struct Quiet(HashMap<&'static str, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

impl Quiet {
    /// Returns how many log lines of this kind were suppressed since the last one that was written,
    /// or `None` if no line of this kind may be written now.
    pub(super) fn may_say(&mut self, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        match self.0.get_mut(kind) {
            Some(said) if now.duration_since(said.at) < PAUSE => {
                said.since += 1;
                None
            }
            earlier => {
                let suppressed = earlier.map_or(0, |said| said.since);
                self.0.insert(kind, Said { at: now, since: 0 });
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_said_once_and_others_are_not_silenced_by_it() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.may_say("checksum"), Some(0));
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
        assert_eq!(quiet.may_say("checksum"), Some(7));
        assert!(quiet.may_say("checksum").is_none());
    }
}
