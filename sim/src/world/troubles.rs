//! Begins and ends the troubles of a run's plan.

use lb_ha::{
    Time,
    pair::{Event, LocalHealth, Reason},
    vrrp::State,
};

use super::{Happening, Left, World};
use crate::{
    conditions::Conditions,
    link::News,
    plan::{Holder, Side, Trouble, What},
};

impl World {
    pub(super) fn begin(&mut self, index: usize) {
        let Trouble { at, lasts, what } = self.plan.troubles[index];
        self.note(|| format!("---- {what:?} for {lasts:?}"));
        self.troubled[index] = true;
        let ends = Time::after_start(at + lasts);
        self.queue.put(ends, Happening::End(index));
        match what {
            What::Crash { side, power } => self.crash(side, power),
            What::Pause(side) => self.pause(side),
            What::ClockJump { side, by } => self.jump(side, by),
            What::Fault(side) | What::Weight { side, .. } => self.stand(side),
            What::LinkReset => self.reset_link(),
            What::MovedByHand(holder) => self.move_by_hand(holder),
            What::HandOver(side) => self.order_hand_over(side, Reason::Operator),
            What::Stop(side) => self.order_hand_over(side, Reason::Stop),
            What::Upgrade(side) => self.upgrade(side, ends),
            What::Reconfigure {
                side,
                priority,
                preempt,
            } => self.reconfigure(side, priority, preempt),
            _ => self.recondition(),
        }
    }

    pub(super) fn end(&mut self, index: usize) {
        let what = self.plan.troubles[index].what;
        self.note(|| format!("---- over: {what:?}"));
        self.troubled[index] = false;
        match what {
            What::Crash { side, .. } | What::Stop(side) => {
                if !self.is_down(side) {
                    self.start(side);
                }
            }
            What::Pause(side) => self.go_on(side),
            What::Fault(side) | What::Weight { side, .. } => self.stand(side),
            What::LinkReset
            | What::ClockJump { .. }
            | What::MovedByHand(_)
            | What::HandOver(_)
            | What::Upgrade(_)
            | What::Reconfigure { .. } => {}
            _ => self.recondition(),
        }
    }

    /// Returns the present health of a host's backends and tracked objects.
    pub(super) fn health(&self, side: Side) -> LocalHealth {
        let mut health = self.nodes[side.index()].health;
        for trouble in self.present() {
            match trouble.what {
                What::Fault(whose) if whose == side => health.fault = true,
                What::Weight {
                    side: whose,
                    weight,
                } if whose == side => health.weight += weight,
                _ => {}
            }
        }
        health
    }

    /// Returns whether the host has power, whether or not its agent runs.
    pub(super) fn is_powered(&self, side: Side) -> bool {
        !self.present().any(|trouble| {
            matches!(trouble.what, What::Crash { side: whose, power: true } if whose == side)
        })
    }

    /// Gives the Elastic IP back to a host, as a person does who had moved it.
    pub fn bring_back(&mut self, side: Side) {
        self.note(|| format!("---- the address is brought back to {side:?}"));
        self.move_by_hand(Holder::Host(side));
    }

    fn move_by_hand(&mut self, holder: Holder) {
        if self.cloud.give(self.now, holder) {
            self.address_moved();
        }
        self.watch.overlap().moved_by_hand(self.now);
    }

    fn crash(&mut self, side: Side, power: bool) {
        if self.nodes[side.index()].host.is_none() {
            return;
        }
        self.lose(side);
        if power {
            self.doubt_link();
        } else if self.conditions.link_cut == [false; 2] {
            // The kernel closes the connections of an agent that has crashed, so the other end is
            // told soon.
            let at = self.now + self.one_way();
            let connection = self.link.connection();
            self.queue
                .put(at, Happening::Link(side.other(), connection, News::Down));
        }
    }

    /// Ends the process of an agent without a goodbye, for an upgrade. The process that continues
    /// it starts at the time `resumes`, with the state that the first one left. An upgrade does not
    /// interrupt a hand-over of the active role.
    fn upgrade(&mut self, side: Side, resumes: Time) {
        let node = &self.nodes[side.index()];
        let Some(view) = self.view(side).filter(|_| node.runs() && !node.holding) else {
            return;
        };
        let left = (view.state == State::Master).then_some(Left {
            at: self.now,
            has_address: view.has_address,
        });
        self.crash(side, false);
        self.queue.put(resumes, Happening::Resume(side, left));
    }

    fn pause(&mut self, side: Side) {
        let node = &mut self.nodes[side.index()];
        if node.runs() {
            node.paused = true;
            self.doubt_link();
            self.changed();
        }
    }

    fn go_on(&mut self, side: Side) {
        let still = self
            .present()
            .any(|trouble| matches!(trouble.what, What::Pause(whose) if whose == side));
        let node = &mut self.nodes[side.index()];
        if still || !node.paused {
            return;
        }
        node.paused = false;
        for event in node.kept(self.now, &mut self.chance) {
            if matches!(event, Event::Answer(_)) {
                self.nodes[side.index()].call = None;
            }
            self.step_now(side, event);
        }
        self.changed();
    }

    fn jump(&mut self, side: Side, by: std::time::Duration) {
        let node = &mut self.nodes[side.index()];
        node.ahead += by;
        node.set_timer(self.now, &mut self.chance);
        self.watch.overlap().clock_jumped(self.now);
    }

    fn reconfigure(&mut self, side: Side, priority: u8, preempt: bool) {
        let plan = &mut self.plan.hosts[side.index()];
        plan.vrrp.priority = priority;
        plan.vrrp.preempt = preempt;
        let (handover, preempt_delay) = (plan.handover, plan.vrrp.preempt_delay);
        self.step(
            side,
            Event::Reconfigure {
                priority,
                preempt,
                preempt_delay,
                handover,
            },
        );
    }

    fn recondition(&mut self) {
        self.conditions = Conditions::under(self.present().copied().collect::<Vec<_>>().as_slice());
        self.recut_link();
        self.changed();
    }

    /// Returns whether a trouble keeps the agent of this host from running.
    pub(super) fn is_down(&self, side: Side) -> bool {
        self.present().any(|trouble| match trouble.what {
            What::Crash { side: whose, .. } | What::Stop(whose) => whose == side,
            _ => false,
        })
    }

    fn present(&self) -> impl Iterator<Item = &Trouble> {
        let troubles = self.plan.troubles.iter().zip(&self.troubled);
        troubles
            .filter(|(_, there)| **there)
            .map(|(trouble, _)| trouble)
    }
}
