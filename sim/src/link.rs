//! The link between the two agents: ordered and reliable while it is up, silent when the network is,
//! and closed at one end before the other.

use std::collections::VecDeque;

use lb_ha::{Time, pair::Word};

use crate::plan::Side;

/// An event of the link at one end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// It stands.
    Up,
    /// The other end said this.
    Word(Word),
    /// It is gone.
    Down,
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// It arrives then, over this connection.
    Arrives(Time, u32),
    /// The other end answers that it knows of no such connection.
    Refused(u32),
    /// It waits until the network is healthy, or is lost with the connection.
    Waits,
}

/// The connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Counts the connections.
    connection: u32,
    /// The connection that an end knows of, as its agent was told.
    known: [Option<u32>; 2],
    /// Whether an end of the last connection stands.
    stands: [bool; 2],
    /// What an end said into a network that delivers nothing.
    waiting: [VecDeque<Word>; 2],
    /// Since when nothing of what an end says arrives.
    cut: [Option<Time>; 2],
    /// Before this nothing of what an end says arrives: words do not overtake each other.
    clear: [Time; 2],
}

impl Link {
    /// Whether both ends stand, and both agents know it.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.stands == [true; 2] && self.known == [Some(self.connection); 2]
    }

    /// From when on what this end says arrives without delay.
    #[must_use]
    pub(crate) fn flows(&self, from: Side) -> Time {
        self.clear[from.index()]
    }

    /// Whether an end is missing.
    #[must_use]
    pub(crate) fn is_broken(&self) -> bool {
        self.stands != [true; 2]
    }

    /// Whether this end stands.
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

    /// This end's agent is told that a connection stands; whether it knew of another one.
    pub(crate) fn learn(&mut self, side: Side, connection: u32) -> bool {
        self.known[side.index()].replace(connection).is_some()
    }

    /// Whether this end's agent knows of this connection.
    #[must_use]
    pub(crate) fn knows(&self, side: Side, connection: u32) -> bool {
        self.known[side.index()] == Some(connection)
    }

    /// This end is told that its connection is gone; whether that is news to it.
    pub(crate) fn forget(&mut self, side: Side, connection: u32) -> bool {
        if !self.knows(side, connection) {
            return false;
        }
        self.close(side);
        self.known[side.index()] = None;
        true
    }

    /// This end is gone.
    pub(crate) fn close(&mut self, side: Side) {
        self.stands[side.index()] = false;
        self.waiting[side.index()].clear();
    }

    /// The agent of this end is gone, and what it knew with it.
    pub(crate) fn end(&mut self, side: Side) {
        self.close(side);
        self.known[side.index()] = None;
    }

    /// Says a word that would arrive then.
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

    /// From now on nothing of what this end says arrives, or it does again. Says since when it did
    /// not, where that is over.
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

    /// What this end said meanwhile arrives then.
    pub(crate) fn resume(&mut self, from: Side, at: Time) -> (Time, VecDeque<Word>) {
        let index = from.index();
        self.clear[index] = self.clear[index].max(at);
        (self.clear[index], std::mem::take(&mut self.waiting[index]))
    }
}
