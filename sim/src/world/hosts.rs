//! The agents of the simulated hosts: they start, handle events, carry out actions, and exit.

use std::time::Duration;

use lb_ha::{
    elastic::Owner,
    pair::{Action, Event, Host, LocalHealth, Reason, Refusal},
    vrrp::{Cause, State},
};

use super::{Fact, Happening, Left, STEPS_AT_ONCE, World};
use crate::{node::Node, plan::Side};

impl World {
    pub(super) fn start(&mut self, side: Side) {
        self.run(side, Event::Start);
    }

    /// Starts the process that continues an agent after an upgrade, with the state that the process
    /// before it left (`None`: it was not master).
    pub(super) fn resume(&mut self, side: Side, left: Option<Left>) {
        let event = left.map_or(Event::Start, |left| Event::Resume {
            silent_for: self.now.since(left.at),
            has_address: left.has_address,
        });
        self.run(side, event);
    }

    fn run(&mut self, side: Side, event: Event) {
        let settings = self.plan.settings(side);
        let plan = &self.plan.hosts[side.index()];
        let (checked, synced) = (self.now + plan.checked, self.now + plan.synced);
        let node = &mut self.nodes[side.index()];
        if node.host.is_some() {
            return;
        }
        node.boot += 1;
        let boot = node.boot;
        node.host = Some(Host::new(node.clock(self.now), settings));
        self.queue.put(checked, Happening::Checked(side, boot));
        self.queue.put(synced, Happening::Synced(side, boot));
        self.fact(Fact::Runs(side, true));
        self.watch.starts(side);
        self.step(side, event);
        self.stand(side);
        self.changed();
    }

    /// Ends the agent of this host, whose state is lost.
    pub(super) fn lose(&mut self, side: Side) {
        self.nodes[side.index()].lose();
        self.link.end(side);
        self.watch.ends(side);
        self.fact(Fact::Runs(side, false));
        self.changed();
    }

    pub(super) fn timer(&mut self, side: Side) {
        let node = &mut self.nodes[side.index()];
        node.timer = None;
        let before = node.host.as_ref().and_then(Host::deadline);
        let actions = self.step_now(side, Event::Timer);
        let node = &self.nodes[side.index()];
        let after = node.host.as_ref().and_then(Host::deadline);
        let past = after.is_some_and(|after| after <= node.clock(self.now));
        if actions == 0 && past && before == after {
            self.watch.fail(format!(
                "{side:?}: nothing was done at its deadline, which stays"
            ));
        }
    }

    /// Changes the health of backends and tracked objects, if the agent that was started as number
    /// `boot` on this host still runs.
    pub(super) fn track(&mut self, side: Side, boot: u32, change: impl FnOnce(&mut LocalHealth)) {
        let node = &mut self.nodes[side.index()];
        if node.boot == boot && node.host.is_some() {
            change(&mut node.health);
            self.stand(side);
        }
    }

    pub(super) fn stand(&mut self, side: Side) {
        let health = self.health(side);
        self.nodes[side.index()].fault = health.fault;
        self.step(side, Event::LocalHealth(health));
    }

    pub(super) fn quiet(&mut self, side: Side, boot: u32, hold: u32) {
        let node = &self.nodes[side.index()];
        if node.boot == boot && node.holds == hold && node.holding {
            self.step(side, Event::Quiet);
        }
    }

    /// Passes an event to the agent of a host: now, or when the suspended agent continues.
    pub(super) fn step(&mut self, side: Side, event: Event) {
        let node = &mut self.nodes[side.index()];
        if node.paused {
            node.keep(event);
        } else {
            self.step_now(side, event);
        }
    }

    /// Passes an event to the agent of a host now. Returns the number of actions that resulted.
    pub(super) fn step_now(&mut self, side: Side, event: Event) -> usize {
        let node = &mut self.nodes[side.index()];
        let now = node.clock(self.now);
        let Some(host) = &mut node.host else {
            return 0;
        };
        let actions = host.step(now, event);
        node.stopping |= event == Event::HandOver(Reason::Stop);
        let count = node.count_step(self.now);
        if count > STEPS_AT_ONCE {
            self.watch
                .fail(format!("{side:?}: {count} steps at one moment"));
        }
        self.figures.steps += 1;
        self.watch.took_in(self.now, side, &event);
        if self.trace.is_some() {
            self.trace_step(side, event, &actions);
        }
        for action in &actions {
            self.act(side, *action);
        }
        let node = &mut self.nodes[side.index()];
        node.set_timer(self.now, &mut self.chance);
        if let Some(host) = &node.host
            && actions
                .iter()
                .any(|action| matches!(action, Action::Became(..) | Action::Addresses { .. }))
        {
            let owner = host.view(now).owner;
            let seen_here = owner.is_some_and(|(_, owner)| owner == Owner::Us);
            self.watch.stepped(side, host.state(), seen_here);
        }
        let outcome = |action: &Action| matches!(action, Action::HandedOver(_));
        if node.stopping && actions.iter().any(outcome) {
            self.stop(side);
        }
        actions.len()
    }

    pub(super) fn act(&mut self, side: Side, action: Action) {
        match action {
            Action::Advert { priority, interval } => self.send_advert(side, priority, interval),
            Action::Send(message) => self.send(side, message),
            Action::Call(call) => self.call(side, call),
            Action::Became(state, cause) => self.became(side, state, cause),
            Action::Addresses { here } => self.watch.addresses(side, here),
            Action::Hold(hold) => self.hold(side, hold),
            Action::HandedOver(outcome) => self.handed_over(side, outcome),
        }
    }

    pub(super) fn became(&mut self, side: Side, state: State, cause: Cause) {
        self.fact(Fact::Became(side, state, cause));
        if state == State::Master {
            self.figures.failovers += 1;
        }
        if cause == Cause::SteppedBack {
            self.figures.stepped_back += 1;
        }
        let Node {
            holding, stopping, ..
        } = self.nodes[side.index()];
        if state == State::Master && holding && stopping {
            let what = format!("{side:?}: is about to end, gave its role, and takes it again");
            self.watch.fail(what);
        }
        self.watch.became(side, state, cause, holding);
    }

    pub(super) fn hold(&mut self, side: Side, hold: bool) {
        let node = &mut self.nodes[side.index()];
        if node.holding == hold {
            self.watch.fail(format!("{side:?}: Hold({hold}) twice"));
        }
        node.holding = hold;
        let boot = node.boot;
        self.fact(Fact::Hold(side, hold));
        if !hold {
            return;
        }
        let node = &mut self.nodes[side.index()];
        node.holds += 1;
        let holds = node.holds;
        if let Some(quiet) = self.plan.hosts[side.index()].quiet {
            let takes = self.chance.between(Duration::ZERO, quiet);
            let happening = Happening::Quiet(side, boot, holds);
            self.queue.put(self.now + takes, happening);
        }
    }

    pub(super) fn handed_over(&mut self, side: Side, outcome: Result<(), Refusal>) {
        self.fact(Fact::HandedOver(side, outcome));
        self.watch.handed_over(side, outcome);
        if outcome.is_ok() {
            self.figures.handed_over += 1;
        }
    }

    /// Stops the agent of this host, which has waited for the outcome of its hand-over of the
    /// active role.
    pub(super) fn stop(&mut self, side: Side) {
        self.nodes[side.index()].stopping = false;
        self.step_now(side, Event::Stop);
        self.lose(side);
        // If the trouble that stopped the agent is still present when the agent is due to start
        // again, it starts only at the end of that trouble.
        let restarts = self.now + self.chance.millis(100, 1000);
        self.queue.put(restarts, Happening::Start(side));
    }

    pub(super) fn order_hand_over(&mut self, side: Side, reason: Reason) {
        if self.nodes[side.index()].host.is_some() {
            self.step(side, Event::HandOver(reason));
        }
    }
}
