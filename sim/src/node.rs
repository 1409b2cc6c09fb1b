//! One host of the simulated pair: the real [`Host`], and a model of its agent.

use std::{collections::VecDeque, time::Duration};

use lb_ha::{
    Time,
    backlog::{self, Backlog, Source},
    elastic::Call,
    pair::{Event, Host, LocalHealth},
    vrrp::State,
};

use crate::chance::Chance;

/// Longest delay of a timer.
pub(crate) const LATE: Duration = Duration::from_micros(1200);

/// A host, running or not.
#[derive(Debug)]
pub(crate) struct Node {
    /// The agent, while it runs.
    pub(crate) host: Option<Host>,
    /// Number of agents that have run on this host.
    pub(crate) boot: u32,
    /// Whether the agent is stopped (SIGSTOP).
    pub(crate) paused: bool,
    /// How far this host's clock is ahead of the world's.
    pub(crate) ahead: Duration,
    /// The agent's timer: the moment that it is set for, and the later one at which it fires.
    pub(crate) timer: Option<(Time, Time)>,
    /// The call of the EC2 API that is under way.
    pub(crate) call: Option<Call>,
    /// Whether the host keeps new connections on hold.
    pub(crate) holding: bool,
    /// Number of holds so far.
    pub(crate) holds: u32,
    /// The health of backends and tracked objects.
    pub(crate) health: LocalHealth,
    /// Whether a tracked object has failed.
    pub(crate) fault: bool,
    /// The agent was told to end.
    pub(crate) stopping: bool,
    /// Events that arrived while the agent was stopped, by source, each in order of arrival.
    inbox: [VecDeque<Event>; SOURCES],
    /// The moment of the last step, and how many there were at that moment.
    steps: (Time, u32),
}

/// Sockets and channels that keep their own order: adverts, the link, calls, the rest.
const SOURCES: usize = 4;
/// Number of adverts that fit into a socket's buffer.
const SOCKET: usize = 200;

impl Node {
    /// A host whose agent does not run.
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

    /// Ends the agent, with all its state.
    pub(crate) fn lose(&mut self) {
        let clock = self.ahead;
        *self = Self {
            boot: self.boot,
            ahead: clock,
            ..Self::off()
        };
    }

    /// Whether the agent runs and is not stopped.
    #[must_use]
    pub(crate) fn runs(&self) -> bool {
        self.host.is_some() && !self.paused
    }

    /// Whether it runs and is active.
    #[must_use]
    pub(crate) fn is_active(&self) -> bool {
        self.runs() && self.state() == Some(State::Master)
    }

    /// Whether it runs and could be active.
    #[must_use]
    pub(crate) fn is_able(&self) -> bool {
        self.runs() && self.health.checked && !self.fault
    }

    /// The state, while the agent runs.
    #[must_use]
    pub(crate) fn state(&self) -> Option<State> {
        self.host.as_ref().map(Host::state)
    }

    /// Returns the time by this host's clock.
    #[must_use]
    pub(crate) fn clock(&self, now: Time) -> Time {
        now + self.ahead
    }

    /// Sets the timer as the agent's deadline says.
    pub(crate) fn set_timer(&mut self, now: Time, chance: &mut Chance) {
        let deadline = self.host.as_ref().and_then(Host::deadline);
        let Some(deadline) = deadline.map(|at| at - self.ahead) else {
            self.timer = None;
            return;
        };
        if self.timer.is_some_and(|(set, _)| set == deadline) {
            return;
        }
        // Now and then a timer is on time to the nanosecond.
        let late = if chance.percent(30) {
            Duration::ZERO
        } else {
            chance.between(Duration::ZERO, LATE)
        };
        self.timer = Some((deadline, deadline.max(now) + late));
    }

    /// Keeps an event that arrives while the agent is stopped.
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

    /// The events that came while the agent was stopped, in the order in which it handles them. An
    /// agent whose timer is long overdue sorts them as [`Backlog`] does; one that was stopped for a
    /// moment takes them in any order, with the timer at any place.
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

    /// Counts the steps of one moment.
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
        Event::LinkUp | Event::LinkDown | Event::Word(_) => Source::Link,
        _ => Source::Host,
    }
}
