//! Limits the rate of log lines that packets from the network can cause.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Shortest time between two log lines of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a log line of a given kind may be written now.
#[derive(Debug, Default)]
pub(super) struct LogLimit(HashMap<&'static str, LastLine>);

#[derive(Debug)]
struct LastLine {
    at: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// Returns how many log lines of this kind were suppressed since the last one that was written,
    /// or `None` if no line of this kind may be written now.
    pub(super) fn permit(&mut self, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        match self.0.get_mut(kind) {
            Some(last) if now.duration_since(last.at) < PAUSE => {
                last.suppressed += 1;
                None
            }
            earlier => {
                let suppressed = earlier.map_or(0, |last| last.suppressed);
                self.0.insert(
                    kind,
                    LastLine {
                        at: now,
                        suppressed: 0,
                    },
                );
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_limited_independently_of_others() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.permit("checksum"), Some(0));
        assert!(limit.permit("checksum").is_none());
        assert!(limit.permit("hmac").is_some());
    }

    #[test]
    fn after_a_pause_the_number_of_suppressed_lines_is_returned() {
        let mut limit = LogLimit::default();
        let long_ago = Instant::now()
            .checked_sub(PAUSE)
            .expect("a clock that is on");
        limit.0.insert(
            "checksum",
            LastLine {
                at: long_ago,
                suppressed: 7,
            },
        );
        assert_eq!(limit.permit("checksum"), Some(7));
        assert!(limit.permit("checksum").is_none());
    }
}
