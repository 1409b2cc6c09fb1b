//! One host of the simulated pair: the real state machine ([`Host`]), and a model of the agent
//! around it.

use std::{collections::VecDeque, time::Duration};

use lb_ha::{
    Time,
    backlog::{self, Backlog, Source},
    elastic::Call,
    pair::{Event, Host, LocalHealth},
    vrrp::State,
};

use crate::chance::Chance;

/// Longest time by which a timer of an agent fires late.
pub(crate) const LATE: Duration = Duration::from_micros(1200);

/// One simulated host, whether or not its agent runs.
#[derive(Debug)]
pub(crate) struct Node {
    /// The state machine of the agent; `None` while the agent does not run.
    pub(crate) host: Option<Host>,
    /// Number of agents that have been started on this host, which identifies the present one.
    pub(crate) boot: u32,
    /// Whether the agent is suspended (SIGSTOP).
    pub(crate) paused: bool,
    /// How far the clock of this host is ahead of the world's clock.
    pub(crate) ahead: Duration,
    /// The agent's timer, by the world's clock: the time that it is set for, and the time, no
    /// earlier, at which it fires. `None` if it is not set.
    pub(crate) timer: Option<(Time, Time)>,
    /// The call to the EC2 API that the agent waits for; `None` if it waits for none.
    pub(crate) call: Option<Call>,
    /// Whether the host holds back new connections.
    pub(crate) holding: bool,
    /// Number of times that the host began to hold back new connections.
    pub(crate) holds: u32,
    /// The health of the host's backends and tracked objects.
    pub(crate) health: LocalHealth,
    /// Whether a tracked object of the host has failed.
    pub(crate) fault: bool,
    /// Whether the agent was ordered to exit.
    pub(crate) stopping: bool,
    /// Events that arrived while the agent was suspended, by their source, each in the order of
    /// arrival.
    inbox: [VecDeque<Event>; SOURCES],
    /// The time at which the state machine last handled an event, and how many events it has
    /// handled at that time.
    steps: (Time, u32),
}

/// Number of sources of events whose events keep their order: adverts, the link between the agents,
/// answers to calls, and all other events.
const SOURCES: usize = 4;
/// Number of adverts that fit into the buffer of a socket; later ones are lost.
const SOCKET: usize = 200;

impl Node {
    /// Returns a host whose agent does not run.
    #[must_use]
    pub(crate) fn off() -> Self {
        Self {
            host: None,
            boot: 0,
            paused: false,
            ahead: Duration::ZERO,
            timer: None,
            call: None,
            holding: false,
            holds: 0,
            health: LocalHealth::default(),
            fault: false,
            stopping: false,
            inbox: Default::default(),
            steps: (Time::default(), 0),
        }
    }

    /// Ends the agent, whose state is lost.
    pub(crate) fn lose(&mut self) {
        let clock = self.ahead;
        *self = Self {
            boot: self.boot,
            ahead: clock,
            ..Self::off()
        };
    }

    /// Returns whether the agent runs and is not suspended.
    #[must_use]
    pub(crate) fn runs(&self) -> bool {
        self.host.is_some() && !self.paused
    }

    /// Returns whether the agent runs, is not suspended, and is active.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.runs() && self.state() == Some(State::Master)
    }

    /// Returns whether the agent runs, is not suspended, and could be active: the first health
    /// checks of its backends are complete and no tracked object has failed.
    #[must_use]
    pub(crate) fn is_able(&self) -> bool {
        self.runs() && self.health.checked && !self.fault
    }

    /// Returns the state of the virtual router; `None` while the agent does not run.
    #[must_use]
    pub(crate) fn state(&self) -> Option<State> {
        self.host.as_ref().map(Host::state)
    }

    /// Returns the time by the clock of this host.
    #[must_use]
    pub(crate) fn clock(&self, now: Time) -> Time {
        now + self.ahead
    }

    /// Sets the agent's timer for the deadline of its state machine.
    pub(crate) fn set_timer(&mut self, now: Time, chance: &mut Chance) {
        let deadline = self.host.as_ref().and_then(Host::deadline);
        let Some(deadline) = deadline.map(|at| at - self.ahead) else {
            self.timer = None;
            return;
        };
        if self.timer.is_some_and(|(set, _)| set == deadline) {
            return;
        }
        // In three of ten cases a timer fires exactly when it should.
        let late = if chance.percent(30) {
            Duration::ZERO
        } else {
            chance.between(Duration::ZERO, LATE)
        };
        self.timer = Some((deadline, deadline.max(now) + late));
    }

    /// Keeps an event that arrives while the agent is suspended.
    pub(crate) fn keep(&mut self, event: Event) {
        let source = match (source(&event), event) {
            (Source::Adverts, _) => 0,
            (Source::Link, _) => 1,
            (Source::Host, Event::Answer(_)) => 2,
            (Source::Host, _) => 3,
        };
        let inbox = &mut self.inbox[source];
        if source != 0 || inbox.len() < SOCKET {
            inbox.push_back(event);
        }
    }

    /// Returns the events that arrived while the agent was suspended, in the order in which it
    /// handles them, with the event of its timer among them. An agent whose timer is long overdue
    /// sorts the events as [`Backlog`] does; an agent that was suspended for a moment handles them
    /// in any order.
    pub(crate) fn kept(&mut self, now: Time, chance: &mut Chance) -> Vec<Event> {
        let mut order: Vec<usize> = (0..SOURCES)
            .flat_map(|source| std::iter::repeat_n(source, self.inbox[source].len()))
            .collect();
        for index in (1..order.len()).rev() {
            order.swap(
                index,
                usize::try_from(chance.below(index as u64 + 1)).unwrap_or(0),
            );
        }
        let mut events: Vec<Event> = order
            .into_iter()
            .filter_map(|source| self.inbox[source].pop_front())
            .collect();
        let place = match chance.below(3) {
            0 => 0,
            1 => events.len(),
            _ => usize::try_from(chance.below(events.len() as u64 + 1)).unwrap_or(0),
        };
        events.insert(place, Event::Timer);
        let deadline = self.host.as_ref().and_then(Host::deadline);
        if !backlog::is_late(self.clock(now), deadline) {
            return events;
        }
        let mut backlog = Backlog::default();
        for event in events {
            backlog.push(source(&event), event);
        }
        std::iter::from_fn(|| backlog.pop()).collect()
    }

    /// Counts an event that the state machine handles at this time, and returns how many there were
    /// at this time.
    pub(crate) fn count_step(&mut self, now: Time) -> u32 {
        if self.steps.0 == now {
            self.steps.1 += 1;
        } else {
            self.steps = (now, 1);
        }
        self.steps.1
    }
}

fn source(event: &Event) -> Source {
    match event {
        Event::Advert(_) => Source::Adverts,
        Event::LinkUp | Event::LinkDown | Event::PairMessage(_) => Source::Link,
        _ => Source::Host,
    }
}
