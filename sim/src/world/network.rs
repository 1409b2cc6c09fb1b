//! Adverts, and the link between the agents, in the simulated world.

use std::time::Duration;

use lb_ha::{
    pair::{Event, PairMessage},
    vrrp::Heard,
};

use super::{Happening, World};
use crate::{
    link::{Delivery, News},
    plan::Side,
};

impl World {
    pub(super) fn send_advert(&mut self, from: Side, priority: u8, interval: Duration) {
        if self.conditions.adverts_cut[from.index()] {
            return;
        }
        let heard = Heard {
            priority,
            interval,
            from: from.address(),
        };
        let copies = 1 + u8::from(self.chance.percent(self.conditions.duplicates));
        for _ in 0..copies {
            if !self.chance.percent(self.conditions.loss) {
                let arrives = self.now + self.one_way();
                let happening = Happening::Advert(from.other(), heard);
                self.queue.put(arrives, happening);
            }
        }
    }

    pub(super) fn send(&mut self, from: Side, message: PairMessage) {
        let arrives = self.now + self.one_way();
        match self.link.send(from, message, arrives) {
            Delivery::Arrives(at, connection) => {
                let happening = Happening::Link(from.other(), connection, News::Message(message));
                self.queue.put(at, happening);
            }
            Delivery::Refused(connection) => {
                // A host without power does not refuse a connection: it says nothing.
                if self.is_powered(from.other()) {
                    let back = arrives + self.one_way();
                    let happening = Happening::Link(from, connection, News::Down);
                    self.queue.put(back, happening);
                }
            }
            Delivery::Waits => {}
        }
    }

    /// Passes an event of the link between the agents to the agent at one end, if that agent runs.
    pub(super) fn link_news(&mut self, side: Side, connection: u32, news: News) {
        if self.nodes[side.index()].host.is_none() {
            return;
        }
        match news {
            News::Up => {
                if connection != self.link.connection() || !self.link.stands(side) {
                    return;
                }
                // When a new connection replaces an old one, an agent may or may not report the end
                // of the old one.
                if self.link.learn(side, connection) && self.chance.percent(50) {
                    self.step(side, Event::LinkDown);
                }
                self.step(side, Event::LinkUp);
                self.changed();
            }
            News::Message(message) => {
                if self.link.knows(side, connection) {
                    self.step(side, Event::PairMessage(message));
                }
            }
            News::Down => {
                if self.link.forget(side, connection) {
                    self.step(side, Event::LinkDown);
                    self.changed();
                }
            }
        }
    }

    /// Connects the agents over the link, if they are not connected and can be.
    pub(super) fn try_link(&mut self) {
        let again = self.now + self.chance.millis(200, 1500);
        self.queue.put(again, Happening::LinkTry);
        let reachable = self.conditions.link_cut == [false; 2];
        let running = self.nodes.iter().all(super::Node::runs);
        if !reachable || !running || !self.link.is_broken() {
            return;
        }
        let told = [0, 1].map(|_| self.now + self.chance.millis(1, 60));
        let connection = self.link.open(told);
        for side in Side::BOTH {
            let happening = Happening::Link(side, connection, News::Up);
            self.queue.put(told[side.index()], happening);
        }
    }

    /// Handles the time-out of one end of the link between the agents: that end closes the
    /// connection, unless the network and both agents are healthy again.
    pub(super) fn give_link_up(&mut self, side: Side, connection: u32) {
        let well = self.conditions.link_cut == [false; 2]
            && !self.link.is_broken()
            && self.nodes.iter().all(super::Node::runs);
        if well || connection != self.link.connection() {
            return;
        }
        if self.link.knows(side, connection) {
            self.link_news(side, connection, News::Down);
        } else {
            self.link.close(side);
        }
    }

    /// Starts the time-outs of both ends of the link between the agents, each of a different
    /// length.
    pub(super) fn doubt_link(&mut self) {
        let connection = self.link.connection();
        for side in Side::BOTH {
            let patience = self.chance.millis(300, 20_000);
            let happening = Happening::LinkGivesUp(side, connection);
            self.queue.put(self.now + patience, happening);
        }
    }

    /// Updates, after a change of the network, whether the messages of each end are held up.
    pub(super) fn recut_link(&mut self) {
        let mut newly_cut = false;
        for from in Side::BOTH {
            let cut = self.conditions.link_cut[from.index()];
            newly_cut |= cut;
            let Some(since) = self.link.cut(self.now, from, cut) else {
                continue;
            };
            // TCP retransmits at intervals that double, so messages arrive some time after the
            // network is healthy again.
            let outage = self.now.since(since).min(Duration::from_secs(3));
            let resumes = self.now + self.chance.between(Duration::ZERO, outage);
            let (at, messages) = self.link.resume(from, resumes);
            let connection = self.link.connection();
            for message in messages {
                let news = if self.link.stands(from.other()) {
                    (from.other(), News::Message(message))
                } else {
                    (from, News::Down)
                };
                self.queue
                    .put(at, Happening::Link(news.0, connection, news.1));
            }
        }
        if newly_cut {
            self.doubt_link();
        }
    }

    /// Breaks the link between the agents, and tells both agents of it.
    pub(super) fn reset_link(&mut self) {
        let connection = self.link.connection();
        for side in Side::BOTH {
            let at = self.now + self.one_way();
            let happening = Happening::Link(side, connection, News::Down);
            self.queue.put(at, happening);
        }
    }

    pub(super) fn one_way(&mut self) -> Duration {
        let (least, most) = self.conditions.way;
        self.chance.between(least, most)
    }
}
