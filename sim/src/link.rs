//! The link between the two agents: ordered and reliable while it is up, silent when the network is,
//! and closed at one end before the other.

use std::collections::VecDeque;

use lb_ha::{Time, pair::Word};

use crate::plan::Side;

/// An event of the link at one end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// The connection is up.
    Up,
    /// This message of the other end arrived.
    Word(Word),
    /// The connection is gone.
    Down,
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// The message arrives at this time, over the connection of this number.
    Arrives(Time, u32),
    /// The other end answers that it does not know the connection of this number.
    Refused(u32),
    /// It waits until the network is healthy, or is lost with the connection.
    Waits,
}

/// The connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Number of connections so far, which is the number of the last one.
    connection: u32,
    /// The connection that each end's agent knows of.
    known: [Option<u32>; 2],
    /// Whether each end of the last connection is open.
    stands: [bool; 2],
    /// Messages that each end sent while the network delivered nothing.
    waiting: [VecDeque<Word>; 2],
    /// Since when no message of each end arrives.
    cut: [Option<Time>; 2],
    /// Earliest arrival of each end's next message: messages do not overtake each other.
    clear: [Time; 2],
}

impl Link {
    /// Whether both ends are open, and both agents know it.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.stands == [true; 2] && self.known == [Some(self.connection); 2]
    }

    /// From when on what this end says arrives without delay.
    #[must_use]
    pub(crate) fn flows(&self, from: Side) -> Time {
        self.clear[from.index()]
    }

    /// Whether an end is closed.
    #[must_use]
    pub(crate) fn is_broken(&self) -> bool {
        self.stands != [true; 2]
    }

    /// Whether this end is open.
    #[must_use]
    pub(crate) fn stands(&self, side: Side) -> bool {
        self.stands[side.index()]
    }

    /// The number of the last connection.
    #[must_use]
    pub(crate) fn connection(&self) -> u32 {
        self.connection
    }

    /// Opens a connection that the ends are told of at these moments.
    pub(crate) fn open(&mut self, told: [Time; 2]) -> u32 {
        self.connection += 1;
        self.stands = [true; 2];
        for side in Side::BOTH {
            self.waiting[side.index()].clear();
            self.clear[side.index()] = told[side.other().index()];
        }
        self.connection
    }

    /// Records that this end's agent is told of a connection. Returns whether it knew of another one.
    pub(crate) fn learn(&mut self, side: Side, connection: u32) -> bool {
        self.known[side.index()].replace(connection).is_some()
    }

    /// Whether this end's agent knows of this connection.
    #[must_use]
    pub(crate) fn knows(&self, side: Side, connection: u32) -> bool {
        self.known[side.index()] == Some(connection)
    }

    /// Records that this end's agent is told that its connection is gone. Returns whether it had not
    /// known that.
    pub(crate) fn forget(&mut self, side: Side, connection: u32) -> bool {
        if !self.knows(side, connection) {
            return false;
        }
        self.close(side);
        self.known[side.index()] = None;
        true
    }

    /// Closes this end.
    pub(crate) fn close(&mut self, side: Side) {
        self.stands[side.index()] = false;
        self.waiting[side.index()].clear();
    }

    /// Closes this end because its agent has exited, which also forgets the connection.
    pub(crate) fn end(&mut self, side: Side) {
        self.close(side);
        self.known[side.index()] = None;
    }

    /// Sends a message that would arrive at `arrives`. Returns its fate.
    pub(crate) fn say(&mut self, from: Side, word: Word, arrives: Time) -> Said {
        let index = from.index();
        if self.known[index] != Some(self.connection) || !self.stands[index] {
            return Said::Waits;
        }
        if self.cut[index].is_some() {
            self.waiting[index].push_back(word);
            return Said::Waits;
        }
        if !self.stands[from.other().index()] {
            return Said::Refused(self.connection);
        }
        self.clear[index] = self.clear[index].max(arrives);
        Said::Arrives(self.clear[index], self.connection)
    }

    /// Sets whether the messages of this end are held up. When that ends, returns since when they were.
    pub(crate) fn cut(&mut self, now: Time, from: Side, cut: bool) -> Option<Time> {
        let slot = &mut self.cut[from.index()];
        match (*slot, cut) {
            (None, true) => {
                *slot = Some(now);
                None
            }
            (Some(_), false) => slot.take(),
            _ => None,
        }
    }

    /// Delivers at `at` what this end sent while its messages were held up.
    pub(crate) fn resume(&mut self, from: Side, at: Time) -> (Time, VecDeque<Word>) {
        let index = from.index();
        self.clear[index] = self.clear[index].max(at);
        (self.clear[index], std::mem::take(&mut self.waiting[index]))
    }
}
