//! Words of the map `source_ports`: the state of a source port.

use crate::{
    tcp::{Numbers, State},
    tick::Tick,
};

/// A word of the map `source_ports`: the port is free, held by the connection of an entry, reserved
/// for the host's own connections, or resting.
///
/// A port rests after its connection released it while the backend may still hold that connection
/// in TIME-WAIT. Until TIME-WAIT is over, the word keeps what the backend compares the next SYN
/// with: the last timestamp or, for a client that sends none, the last sequence number, without the
/// low nine bits.
///
/// ```text
/// bit   31  30                29..24             23..1                   0
///       1   1: timestamp,     second when it     timestamp or sequence   0
///           0: sequence       was last used      number, bits 31..9
///              number
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortWord(pub u32);

impl PortWord {
    /// The port is free and does not rest: no backend is known to hold a connection from it in
    /// TIME-WAIT.
    pub const FREE: Self = Self(0);
    /// The port is reserved for the host's own connections.
    pub const RESERVED: Self = Self(u32::MAX);

    const RESTING: u32 = 1 << 31;
    const HAS_TIMESTAMP: u32 = 1 << 30;

    /// Returns the word of a port that the entry with this index of the map `connections` holds.
    #[must_use]
    #[inline(always)]
    pub const fn held_by(index: u32) -> Self {
        Self(index + 1)
    }

    /// Returns the index of the entry that holds the port; `None` if no entry holds it.
    #[must_use]
    #[inline(always)]
    pub const fn holder(self) -> Option<u32> {
        if self.0 & Self::RESTING == 0 {
            self.0.checked_sub(1)
        } else {
            None
        }
    }

    /// Whether the port rests (a backend may hold its last connection in TIME-WAIT), or has rested
    /// and was not claimed since then.
    #[must_use]
    #[inline(always)]
    pub const fn is_resting(self) -> bool {
        self.0 & Self::RESTING != 0 && self.0 != Self::RESERVED.0
    }

    /// Returns the word of a port after its release by a connection in `state`, with its last
    /// sequence number and timestamp, and its last packet at `seen`.
    #[must_use]
    #[inline(always)]
    pub const fn after_release(
        state: State,
        last: Numbers,
        seen: Tick,
        now: Tick,
        hertz: u32,
    ) -> Self {
        if state.0 != State::LINGERING.0 || now.since(seen) >= TIME_WAIT * hertz {
            return Self::FREE;
        }
        let (kind, number) = if last.timestamp == 0 {
            (0, last.sequence)
        } else {
            (Self::HAS_TIMESTAMP, last.timestamp)
        };
        Self(Self::RESTING | kind | second(seen, hertz) << 24 | number >> 9 << 1)
    }

    /// Returns 1 if a connection with the numbers `next` in its SYN may claim the port at this
    /// [`second`]: TIME-WAIT is over, or the last segments of the old connection have arrived and
    /// the backend accepts the SYN in spite of TIME-WAIT (see [`Numbers::is_newer_than`]).
    /// Otherwise returns 0. Seconds wrap at 64, so a port that is not claimed after its TIME-WAIT
    /// appears to rest again from time to time.
    ///
    /// Branchless: a loop evaluates sixteen words, and the kernel's verifier would explore every
    /// path through each of them.
    #[must_use]
    #[inline(always)]
    pub const fn reusable_bit(self, next: Numbers, second: u32) -> u32 {
        let word = self.0;
        let rests = word >> 31 & !word & 1;
        let rested = second.wrapping_sub(word >> 24) & (SECONDS - 1);
        let is_over = (rested + SECONDS - TIME_WAIT) / SECONDS;
        let is_quiet = (rested + SECONDS - QUIET) / SECONDS;
        let by_timestamp = word >> 30 & 1;
        let mask = by_timestamp.wrapping_neg();
        let number = next.timestamp & mask | next.sequence & !mask;
        // If the stored number is a timestamp and the SYN has none, they cannot be compared.
        let is_known = !by_timestamp & 1 | (next.timestamp | next.timestamp.wrapping_neg()) >> 31;
        // Serial number arithmetic on 24 bits, shifted to the upper end of 32 bits: a positive
        // difference means that the SYN's number is ahead of the stored one.
        let ahead = (number >> 9 << 1).wrapping_sub(word) << 8;
        let is_ahead = (!ahead & ahead.wrapping_neg()) >> 31;
        rests & (is_over | is_quiet & is_known & is_ahead)
    }

    /// Returns 1 if the port is free and does not rest until the TIME-WAIT of a connection at its
    /// backend is over, otherwise 0. Branchless, like [`Self::reusable_bit`].
    #[must_use]
    #[inline(always)]
    pub const fn free_bit(self) -> u32 {
        1 - ((self.0 as u64 + u32::MAX as u64) >> 32) as u32
    }
}

/// Seconds that an endpoint stays in TIME-WAIT (include/net/tcp.h, `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: u32 = 60;

/// Minimum time in seconds from the last use of a port to its reuse. A second counts as soon as it
/// has begun, so at least one whole second passes. When ports were reused immediately, late
/// segments of the old connection reached the new one, and its backend reset it.
const QUIET: u32 = 2;

/// Number of seconds after which the count of seconds in a word wraps.
const SECONDS: u32 = 64;

/// Converts a tick to the second that is stored in a [`PortWord`]: 0 to 63.
#[must_use]
#[inline(always)]
pub const fn second(moment: Tick, hertz: u32) -> u32 {
    match moment.0.checked_div(hertz) {
        Some(second) => second % SECONDS,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERTZ: u32 = 250;
    const LAST: Numbers = Numbers {
        sequence: 1_000_000,
        timestamp: 2_000_000,
    };

    fn has_rested(word: PortWord, next: Numbers, second: u32) -> bool {
        word.reusable_bit(next, second) == 1
    }

    fn at(second: u32) -> Tick {
        Tick(second * HERTZ)
    }

    fn resting(last: Numbers) -> PortWord {
        PortWord::after_release(State::LINGERING, last, at(100), at(101), HERTZ)
    }

    fn syn(sequence: u32, timestamp: u32) -> Numbers {
        Numbers {
            sequence,
            timestamp,
        }
    }

    #[test]
    fn only_what_the_backend_holds_rests() {
        for state in (0..=15).map(State) {
            let left = PortWord::after_release(state, LAST, at(100), at(101), HERTZ);
            assert_eq!(left != PortWord::FREE, state == State::LINGERING);
            assert_eq!(left.holder(), None);
        }
        let late = PortWord::after_release(State::LINGERING, LAST, at(100), at(160), HERTZ);
        assert_eq!(late, PortWord::FREE, "its TIME-WAIT is over");
    }

    #[test]
    fn a_port_that_rests_is_lent_to_newer_numbers_after_a_second_and_to_all_after_a_minute() {
        let word = resting(LAST);
        let lends = |next, at_second| has_rested(word, next, second(at(at_second), HERTZ));
        let newer = syn(5, LAST.timestamp + 512);
        assert!(!lends(newer, 100) && !lends(newer, 101), "not quiet yet");
        assert!(lends(newer, 102));
        assert!(!lends(syn(LAST.sequence + 9999, LAST.timestamp - 1), 102));
        assert!(
            !lends(syn(LAST.sequence + 9999, 0), 102),
            "its number is not known any more"
        );
        assert!((101..160).all(|second| !lends(syn(5, 5), second)));
        assert!(lends(syn(5, 5), 160));
    }

    #[test]
    fn without_timestamps_the_sequence_number_decides() {
        let word = resting(syn(LAST.sequence, 0));
        let lends = |next| has_rested(word, next, second(at(102), HERTZ));
        assert!(lends(syn(LAST.sequence + 512, 0)));
        assert!(lends(syn(LAST.sequence + 512, 7)));
        for same in [LAST.sequence, LAST.sequence | 511] {
            assert!(!has_rested(
                resting(syn(same, 0)),
                syn(same, 0),
                second(at(102), HERTZ)
            ));
        }
        assert!(!lends(syn(LAST.sequence - 1, 0)));
        assert!(!lends(syn(LAST.sequence.wrapping_add(1 << 31), 0)));
    }

    #[test]
    fn no_number_and_no_second_makes_a_word_that_means_something_else() {
        for second in 0..200 {
            for number in [0, 1, 255, 256, u32::MAX - 1, u32::MAX] {
                for last in [syn(number, 0), syn(0, number)] {
                    let word = PortWord::after_release(
                        State::LINGERING,
                        last,
                        at(second),
                        at(second),
                        HERTZ,
                    );
                    assert_ne!(word, PortWord::RESERVED);
                    assert_ne!(word, PortWord::FREE);
                    assert_eq!(word.holder(), None);
                }
            }
        }
        for word in [PortWord::RESERVED, PortWord::FREE, PortWord::held_by(7)] {
            assert!((0..64).all(|second| !has_rested(word, LAST, second)));
        }
        assert_eq!(PortWord::held_by(7).holder(), Some(7));
        assert_eq!(PortWord::FREE.holder(), None);
    }

    #[test]
    fn a_resting_port_is_reused_only_for_a_syn_that_the_backend_accepts() {
        for step in 0..100_000_u32 {
            let last = syn(
                step.wrapping_mul(0x9e37_79b9),
                step.wrapping_mul(0x85eb_ca6b) & !3,
            );
            let next = syn(
                step.wrapping_mul(0xc2b2_ae35),
                step.wrapping_mul(0x27d4_eb2f),
            );
            let word = PortWord::after_release(State::LINGERING, last, at(7), at(8), HERTZ);
            if has_rested(word, next, second(at(9), HERTZ)) {
                assert!(next.is_newer_than(last), "{next:?} after {last:?}");
            }
        }
    }
}
