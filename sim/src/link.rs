//! The simulated link between the two agents: ordered and reliable while it is up, and without an
//! error message while the network delivers nothing. One end may be closed before the other.

use std::collections::VecDeque;

use lb_ha::{Time, pair::PairMessage};

use crate::plan::Side;

/// An event of the link between the agents that the agent at one end receives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// The connection is established.
    Up,
    /// This message of the other end has arrived.
    Message(PairMessage),
    /// The connection is closed.
    Down,
}

/// What happens to a message that one end of the link sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// The message arrives at this time, over the connection with this number.
    Arrives(Time, u32),
    /// The other end does not know the connection with this number, and says so.
    Refused(u32),
    /// The message waits until the network is healthy again, or is lost with the connection.
    Waits,
}

/// The present connection between the two agents, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Number of connections so far, which also identifies the last connection.
    connection: u32,
    /// For each end, the number of the connection that its agent knows of; `None` if it knows of
    /// none.
    known: [Option<u32>; 2],
    /// For each end, whether its side of the last connection is open.
    stands: [bool; 2],
    /// For each end, the messages that it sent while the network delivered nothing.
    waiting: [VecDeque<PairMessage>; 2],
    /// For each end, since when none of its messages arrives; `None` if they arrive.
    cut: [Option<Time>; 2],
    /// For each end, the earliest arrival of its next message: messages do not overtake each other.
    clear: [Time; 2],
}

impl Link {
    /// Returns whether both ends are open and both agents know of the connection.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.stands == [true; 2] && self.known == [Some(self.connection); 2]
    }

    /// Returns the time from which on messages of this end arrive without waiting for earlier ones.
    #[must_use]
    pub(crate) fn flows(&self, from: Side) -> Time {
        self.clear[from.index()]
    }

    /// Returns whether at least one end is closed.
    #[must_use]
    pub(crate) fn is_broken(&self) -> bool {
        self.stands != [true; 2]
    }

    /// Returns whether this end is open.
    #[must_use]
    pub(crate) fn stands(&self, side: Side) -> bool {
        self.stands[side.index()]
    }

    /// Returns the number of the last connection.
    #[must_use]
    pub(crate) fn connection(&self) -> u32 {
        self.connection
    }

    /// Opens a connection, of which the ends are told at these times. Returns its number.
    pub(crate) fn open(&mut self, told: [Time; 2]) -> u32 {
        self.connection += 1;
        self.stands = [true; 2];
        for side in Side::BOTH {
            self.waiting[side.index()].clear();
            self.clear[side.index()] = told[side.other().index()];
        }
        self.connection
    }

    /// Records that the agent of this end is told of a connection. Returns whether it knew of an
    /// earlier one until then.
    pub(crate) fn learn(&mut self, side: Side, connection: u32) -> bool {
        self.known[side.index()].replace(connection).is_some()
    }

    /// Returns whether the agent of this end knows of this connection.
    #[must_use]
    pub(crate) fn knows(&self, side: Side, connection: u32) -> bool {
        self.known[side.index()] == Some(connection)
    }

    /// Records that the agent of this end is told that this connection is closed. Returns whether
    /// that is news to the agent.
    pub(crate) fn forget(&mut self, side: Side, connection: u32) -> bool {
        if !self.knows(side, connection) {
            return false;
        }
        self.close(side);
        self.known[side.index()] = None;
        true
    }

    /// Closes this end of the connection, whose waiting messages are lost.
    pub(crate) fn close(&mut self, side: Side) {
        self.stands[side.index()] = false;
        self.waiting[side.index()].clear();
    }

    /// Closes this end because its agent has exited. A new agent at this end does not know of the
    /// connection.
    pub(crate) fn end(&mut self, side: Side) {
        self.close(side);
        self.known[side.index()] = None;
    }

    /// Sends a message that would arrive at the time `arrives`. Returns what happens to it.
    pub(crate) fn send(&mut self, from: Side, message: PairMessage, arrives: Time) -> Delivery {
        let index = from.index();
        if self.known[index] != Some(self.connection) || !self.stands[index] {
            return Delivery::Waits;
        }
        if self.cut[index].is_some() {
            self.waiting[index].push_back(message);
            return Delivery::Waits;
        }
        if !self.stands[from.other().index()] {
            return Delivery::Refused(self.connection);
        }
        self.clear[index] = self.clear[index].max(arrives);
        Delivery::Arrives(self.clear[index], self.connection)
    }

    /// Sets whether the messages of this end are held up. Returns the time since which the messages
    /// were held up if this call ends that; otherwise `None`.
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

    /// Returns the messages that this end sent while its messages were held up, and the time of
    /// their arrival, which is not before `at`.
    pub(crate) fn resume(&mut self, from: Side, at: Time) -> (Time, VecDeque<PairMessage>) {
        let index = from.index();
        self.clear[index] = self.clear[index].max(at);
        (self.clear[index], std::mem::take(&mut self.waiting[index]))
    }
}
