//! The calls of the simulated EC2 API.

use std::time::Duration;

use lb_ha::{
    Time,
    elastic::{Answer, Call, Failure, Owner},
    pair::Event,
    vrrp::State,
};

use super::{Fact, Happening, World};
use crate::plan::{Holder, Side};

/// How long an agent waits for the answer to a call to the EC2 API.
const LIMIT: Duration = Duration::from_secs(5);
/// How long after a call the client of the EC2 API sends it again, while the first one may still
/// be in flight.
const ATTEMPT: Duration = Duration::from_millis(1500);

impl World {
    pub(super) fn call(&mut self, side: Side, call: Call) {
        let node = &mut self.nodes[side.index()];
        if let Some(before) = node.call.replace(call) {
            self.watch
                .fail(format!("{side:?}: {call:?} while {before:?} is under way"));
        }
        let (state, boot) = (node.state(), node.boot);
        if call == Call::Associate {
            if state != Some(State::Master) {
                let what = format!("{side:?}: takes the address and is not active");
                self.watch.fail(what);
            }
            let holder = self.cloud.holder();
            self.watch.takes_address(side, holder);
        }
        self.send_call(side, boot, call);
    }

    fn send_call(&mut self, side: Side, boot: u32, call: Call) {
        let api = self.conditions.api[side.index()];
        let failed = |failure| Answer::Failed(call, failure);
        if !api.reachable {
            let waits = self.chance.millis(1000, 5000);
            self.end_call(self.now + waits, side, boot, failed(Failure::Other));
            return;
        }
        let (least, most) = api.takes;
        let takes = self.chance.between(least, most);
        if self.chance.percent(api.throttled) {
            self.end_call(self.now + least, side, boot, failed(Failure::Throttled));
            return;
        }
        let served = self.now + self.chance.between(Duration::ZERO, takes);
        if self.chance.percent(api.failing) {
            // A call that the EC2 API reports as failed may have been carried out anyway.
            if self.chance.percent(30) {
                self.queue
                    .put(served, Happening::Served(side, boot, call, None));
            }
            let ends = self.now + takes.min(LIMIT);
            self.end_call(ends, side, boot, failed(Failure::Other));
            return;
        }
        if takes > ATTEMPT && call == Call::Associate && self.chance.percent(50) {
            let again = served + ATTEMPT;
            self.queue
                .put(again, Happening::Served(side, boot, call, None));
        }
        if takes > LIMIT {
            self.queue
                .put(served, Happening::Served(side, boot, call, None));
            self.end_call(self.now + LIMIT, side, boot, failed(Failure::Other));
        } else {
            let answers = Some(self.now + takes);
            self.queue
                .put(served, Happening::Served(side, boot, call, answers));
        }
    }

    /// Carries out a call that has reached the EC2 API, whether or not the agent that sent it (the
    /// agent number `boot` that was started on the host) still runs. `answers` is the time at which
    /// the answer arrives; `None`: it is lost.
    pub(super) fn serve(&mut self, side: Side, boot: u32, call: Call, answers: Option<Time>) {
        let answer = match call {
            Call::Associate => {
                self.associate(side);
                Answer::Associated
            }
            Call::Describe => Answer::Described(self.describe(side)),
        };
        if let Some(at) = answers {
            self.end_call(at, side, boot, answer);
        }
    }

    fn associate(&mut self, side: Side) {
        self.fact(Fact::Accepted(side));
        self.watch.overlap().took(self.now, side);
        if self.cloud.give(self.now, Holder::Host(side)) {
            self.figures.moves += 1;
            self.address_moved();
        }
    }

    /// Records the new holder of the Elastic IP as an event.
    pub(super) fn address_moved(&mut self) {
        self.fact(Fact::Moved(self.cloud.holder()));
    }

    fn describe(&mut self, side: Side) -> Owner {
        let stale = self.conditions.api[side.index()].stale;
        let ago = self.chance.between(Duration::ZERO, stale);
        match self.cloud.held(self.now, ago) {
            Holder::Host(holder) if holder == side => Owner::Us,
            Holder::Host(_) | Holder::Stranger => Owner::Other,
            Holder::Nobody => Owner::Nobody,
        }
    }

    fn end_call(&mut self, at: Time, side: Side, boot: u32, answer: Answer) {
        self.queue.put(at, Happening::Answer(side, boot, answer));
    }

    pub(super) fn answered(&mut self, side: Side, boot: u32, answer: Answer) {
        let node = &mut self.nodes[side.index()];
        if node.boot != boot || node.host.is_none() {
            return;
        }
        let had = self.has_address(side);
        // A suspended agent handles the answer later, and makes no call before that.
        let node = &mut self.nodes[side.index()];
        if !node.paused {
            node.call = None;
        }
        self.step(side, Event::Answer(answer));
        if !had && self.has_address(side) {
            self.fact(Fact::Acquired(side));
        }
    }

    fn has_address(&self, side: Side) -> bool {
        self.view(side).is_some_and(|view| view.has_address)
    }
}
