//! The order in which a CPU visits the lines of a row of source ports. A row has the source ports
//! to one backend from one source address; a line is sixteen adjacent ports of it.
//!
//! Each CPU claims ports of one line for a few connections before it moves to the next, so that
//! most connections find their line in the CPU's cache. It cycles through a window of lines rather
//! than the whole row, so that ports are reused, once they have rested, although the row still has
//! unused ports: a backend that closes first then keeps thousands of connections in TIME-WAIT, not
//! sixty thousand, and finds each of them faster. If too many lines of the window have no port for
//! a connection, the walk moves to the next window.

use crate::{limits::LINES, settings::Settings};

/// Position of a CPU in its walk over a row of source ports, which is the order in which it tries
/// lines of sixteen ports for new connections (see [`crate::walk`]): a value of the map
/// `line_turns`.
///
/// ```text
/// bits  31..17   16..11             10..0
///       window   recent misses      place in the window: four turns for each line
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Turn(pub u32);

/// Number of connections for which a CPU claims ports of one line of sixteen source ports before it
/// moves to the next line.
const TURNS_A_LINE: u32 = 4;

/// Number of lines of sixteen source ports in a window, which together have 8,192 source ports.
/// Below 136 connections per second for each CPU and backend, no port is reused within the minute
/// for which Linux keeps TIME-WAIT.
const WINDOW_LINES: u32 = 512;

/// Number of turns in a window of lines of source ports: [`TURNS_A_LINE`] for each line. A turn is
/// one step of a CPU's position: one for each new connection, and more if a line has no port for
/// the connection.
const PLACES: u32 = WINDOW_LINES * TURNS_A_LINE;

/// The unit of the count of recent misses in a [`Turn`]: each new connection subtracts one, each
/// line without a port for it (a miss) adds [`MISS`].
const STRAIN: u32 = PLACES;

/// Number that each line without a source port for the connection adds to the count of recent
/// misses: a window is left when more than a fifth of the turns are misses.
const MISS: u32 = 5;

/// Count of recent misses (lines without a port for the connection) at which a CPU leaves a window
/// of lines: reached by twelve misses in a row. With half of this limit, a window in which one turn
/// of thirteen is a miss, as is usual when all ports are in TIME-WAIT, was left every five seconds.
const STRAIN_LIMIT: u32 = 58;

/// The unit in which a [`Turn`] counts windows: the lowest bit of the window's number.
const WINDOW: u32 = STRAIN * 64;

impl Turn {
    /// Returns the CPU's position for its next new connection, in the same window of lines of
    /// source ports.
    #[must_use]
    #[inline(always)]
    pub const fn next(self) -> Self {
        let relief = if self.strain() == 0 { 0 } else { STRAIN };
        self.at(self.0 + 1).less(relief)
    }

    /// Returns the CPU's position at the same place in the next window of lines of source ports,
    /// where a port is looked for next if this window has no source port for the connection.
    #[must_use]
    #[inline(always)]
    pub const fn next_window(self) -> Self {
        Self(self.0.wrapping_add(WINDOW))
    }

    /// Returns the CPU's position after neither its window of lines of source ports nor the next
    /// window had a port for the connection: at the same place in the next window.
    #[must_use]
    #[inline(always)]
    pub const fn after_second_miss(self) -> Self {
        self.at(self.0).less(self.strain() * STRAIN).next_window()
    }

    /// Returns the CPU's position after a line had no source port for the connection: in the next
    /// line, or in the next window of lines after too many recent misses.
    #[must_use]
    #[inline(always)]
    pub const fn after_miss(self) -> Self {
        if self.strain() + MISS >= STRAIN_LIMIT {
            return self.after_second_miss();
        }
        self.at(self.0 + TURNS_A_LINE)
            .less((MISS * STRAIN).wrapping_neg())
    }

    const fn strain(self) -> u32 {
        self.0 / STRAIN % 64
    }

    /// Returns the CPU's position at the turn `place` of the same window of lines of source ports,
    /// with the same number of recent misses.
    #[inline(always)]
    const fn at(self, place: u32) -> Self {
        Self(self.0 & !(PLACES - 1) | (place % PLACES))
    }

    #[inline(always)]
    const fn less(self, strain: u32) -> Self {
        Self(self.0.wrapping_sub(strain))
    }

    /// Returns the number of the line of sixteen source ports in which a CPU at this position
    /// claims a port; `None` if NAT has no source ports. The line at which a CPU begins depends on
    /// its number and on the secret in `settings`.
    #[must_use]
    #[inline(always)]
    pub const fn line(self, settings: &Settings, cpu: u32) -> Option<u32> {
        let lines = settings.lines as u64;
        if lines == 0 {
            return None;
        }
        let line = self.0 / WINDOW * WINDOW_LINES + self.0 % PLACES / TURNS_A_LINE;
        let begin = cpu.wrapping_mul(0x9e37_79b1) as u64 + (settings.secret[1] >> 32);
        let walked = begin + line as u64;
        #[expect(clippy::cast_possible_truncation, reason = "fewer than 65,536 lines")]
        let mut number = (walked % lines) as u32;
        if number >= settings.lines_before_gap as u32 {
            number += settings.gap as u32;
        }
        Some((settings.first_line as u32 + number) % LINES)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn settings() -> Settings {
        Settings {
            first_line: 64,
            lines: 1000,
            lines_before_gap: 300,
            gap: 512,
            ..Settings::default()
        }
    }

    fn lines_of_a_round(mut turn: Turn) -> (BTreeSet<u32>, Turn) {
        let mut lines = BTreeSet::new();
        for _turn in 0..PLACES {
            lines.extend(turn.line(&settings(), 1));
            turn = turn.next();
        }
        (lines, turn)
    }

    fn window(turn: Turn) -> u32 {
        turn.0 / WINDOW
    }

    #[test]
    fn a_cpu_goes_round_its_window() {
        let (lines, after) = lines_of_a_round(Turn(3 * WINDOW + 17));
        assert_eq!(lines.len(), WINDOW_LINES as usize);
        assert_eq!(after, Turn(3 * WINDOW + 17));
    }

    #[test]
    fn windows_cover_every_line_but_those_of_the_gap() {
        let (mut lines, turn) = lines_of_a_round(Turn(5 * WINDOW));
        lines.extend(lines_of_a_round(Turn(turn.0 + WINDOW)).0);
        let expected: BTreeSet<u32> = (64..364).chain(876..1576).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_miss_leads_to_the_next_line() {
        let turn = Turn(2 * WINDOW + PLACES - 1);
        let after = turn.after_miss();
        assert_eq!(window(after), 2, "the same window");
        assert_eq!(
            after.0 % PLACES,
            TURNS_A_LINE - 1,
            "its first line follows its last"
        );
        assert_ne!(turn.line(&settings(), 0), after.line(&settings(), 0));
    }

    #[test]
    fn twelve_misses_one_after_the_other_lead_to_the_next_window() {
        let mut turn = Turn(u32::MAX / WINDOW * WINDOW + 40);
        for _miss in 0..11 {
            turn = turn.after_miss();
            assert_eq!(window(turn), u32::MAX / WINDOW);
        }
        turn = turn.after_miss();
        assert_eq!(
            turn,
            Turn(40 + 11 * TURNS_A_LINE),
            "the first follows the last"
        );
    }

    #[test]
    fn a_second_miss_leads_to_the_next_window_at_once() {
        let turn = Turn(2 * WINDOW + 40).after_miss().after_second_miss();
        assert_eq!(turn, Turn(3 * WINDOW + 40 + TURNS_A_LINE));
    }

    #[test]
    fn a_miss_now_and_then_keeps_the_window() {
        let mut turn = Turn::default();
        for _round in 0..10_000 {
            turn = turn.after_miss();
            for _hit in 0..6 {
                turn = turn.next();
            }
        }
        assert_eq!(window(turn), 0);
    }

    #[test]
    fn a_row_without_lines_has_no_turn() {
        assert_eq!(Turn::default().line(&Settings::default(), 0), None);
    }
}
