//! The simulated world: two hosts, the network between them, the EC2 API, and the troubles.

mod api;
mod hosts;
mod network;
mod troubles;

use std::time::Duration;

use lb_ha::{
    Time,
    elastic::{Answer, Call},
    pair::{Action, Event, PairMessage, Refusal, View},
    vrrp::{Cause, Heard, State},
};

use crate::{
    chance::Chance,
    cloud::Cloud,
    conditions::Conditions,
    figures::Figures,
    link::{Link, News},
    node::Node,
    overlap::Closer,
    plan::{Holder, Plan, Side},
    queue::Queue,
    watch::Watch,
};

/// Maximum number of events that one host handles at the same simulated time, which only an endless
/// loop exceeds.
const STEPS_AT_ONCE: u32 = 1000;

/// The violation of an invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When the invariant was violated.
    pub at: Time,
    /// How the invariant was violated, as a sentence.
    pub what: String,
}

/// An event of a run that is recorded for checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fact {
    /// This host's state became this one, for this cause.
    Became(Side, State, Cause),
    /// The EC2 API accepted this host's call to associate the Elastic IP with it.
    Accepted(Side),
    /// The Elastic IP has this new holder.
    Moved(Holder),
    /// This host began to hold back new connections (true), or ended that (false).
    Hold(Side, bool),
    /// This host has begun to believe that it has the Elastic IP.
    Acquired(Side),
    /// A hand-over of the active role by this host to the other one had this outcome.
    HandedOver(Side, Result<(), Refusal>),
    /// The agent of this host has started (true), or has ended (false).
    Runs(Side, bool),
}

/// A future event in the queue of the world.
#[derive(Clone, Debug)]
enum Happening {
    /// The agent of this host starts.
    Start(Side),
    /// The process that continues this host's agent after an upgrade starts, with the state that
    /// the process before it left; `None`: that process was not master.
    Resume(Side, Option<Left>),
    /// This advert arrives at this host.
    Advert(Side, Heard),
    /// The agent at this host's end of the link is told this about the connection with this number.
    Link(Side, u32, News),
    /// The agents try to connect to each other.
    LinkTry,
    /// The time-out of this host's end of the link passes: that end closes the connection with this
    /// number, unless the network and both agents are healthy again.
    LinkGivesUp(Side, u32),
    /// A call of the agent with this number on this host (agents are numbered as they start there)
    /// reaches the EC2 API. The answer arrives at the time given last; `None`: the answer is lost.
    Served(Side, u32, Call, Option<Time>),
    /// The answer to a call arrives at this host, for the agent with this number: agents are
    /// numbered as they start on a host.
    Answer(Side, u32, Answer),
    /// All requests have ended since this host began to hold back new connections. The first number
    /// is that of the agent among those that were started on the host, the second is the number of
    /// times that the host has begun to hold back connections.
    Quiet(Side, u32, u32),
    /// The first health checks of this host's backends by the agent with this number are complete:
    /// agents are numbered as they start on a host.
    Checked(Side, u32),
    /// The agent with this number on this host (agents are numbered as they start there) has
    /// received the other host's flows.
    Synced(Side, u32),
    /// The trouble with this index in the plan begins.
    Begin(usize),
    /// The trouble with this index in the plan ends.
    End(usize),
}

/// The state that a process which was master leaves to the process that continues it.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// When the process ended.
    at: Time,
    /// Whether it was confirmed that the host has the Elastic IP.
    has_address: bool,
}

/// The simulated world of one run.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    now: Time,
    chance: Chance,
    queue: Queue<Happening>,
    nodes: [Node; 2],
    link: Link,
    cloud: Cloud,
    conditions: Conditions,
    /// For each trouble of the plan, whether it is present.
    troubled: Vec<bool>,
    watch: Watch,
    facts: Vec<(Time, Fact)>,
    figures: Figures,
    trace: Option<Vec<String>>,
}

impl World {
    /// Creates a world in which nothing has happened yet. If `trace` is true, it keeps a line for
    /// each event.
    #[must_use]
    pub fn new(plan: Plan, trace: bool) -> Self {
        let mut queue = Queue::empty();
        for side in Side::BOTH {
            let start = plan.hosts[side.index()].start;
            queue.put(Time::after_start(start), Happening::Start(side));
        }
        for (index, trouble) in plan.troubles.iter().enumerate() {
            queue.put(Time::after_start(trouble.at), Happening::Begin(index));
        }
        if plan.link {
            queue.put(Time::after_start(Duration::ZERO), Happening::LinkTry);
        }
        let mut chance = Chance::seeded(plan.seed);
        let mut nodes = [Node::off(), Node::off()];
        for node in &mut nodes {
            // The clock of each host begins at another time.
            node.ahead = chance.millis(0, 1_000_000);
        }
        Self {
            now: Time::default(),
            chance,
            queue,
            nodes,
            link: Link::default(),
            cloud: Cloud::new(plan.holder),
            conditions: Conditions::under(&[]),
            troubled: vec![false; plan.troubles.len()],
            watch: Watch::over(&plan),
            facts: Vec::new(),
            figures: Figures::default(),
            trace: trace.then(Vec::new),
            plan,
        }
    }

    /// Runs the world until the time `end` after its start.
    ///
    /// # Errors
    /// The first violated invariant.
    pub fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        let end = Time::after_start(end);
        loop {
            let (at, timer) = self.next();
            if at > end {
                self.now = end;
                return self.look();
            }
            self.now = at;
            match timer {
                Some(side) => self.timer(side),
                None => self.happen(),
            }
            self.look()?;
        }
    }

    /// Returns the current time by the world's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Returns the recorded events so far, each with its time.
    #[must_use]
    pub fn facts(&self) -> &[(Time, Fact)] {
        &self.facts
    }

    /// Returns the present holder of the Elastic IP.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.cloud.holder()
    }

    /// Returns the state of a host's virtual router; `None` while its agent does not run.
    #[must_use]
    pub fn state(&self, side: Side) -> Option<State> {
        self.nodes[side.index()].state()
    }

    /// Returns the view that a host's state machine gives of itself; `None` while its agent does
    /// not run.
    #[must_use]
    pub fn view(&self, side: Side) -> Option<View> {
        let node = &self.nodes[side.index()];
        let host = node.host.as_ref();
        host.map(|host| host.view(node.clock(self.now)))
    }

    /// Returns the host that is active; `None` unless exactly one is.
    #[must_use]
    pub fn active(&self) -> Option<Side> {
        let mut active = Side::BOTH.into_iter().filter(|side| self.is_active(*side));
        match (active.next(), active.next()) {
            (Some(side), None) => Some(side),
            _ => None,
        }
    }

    /// Returns whether a host holds back new connections.
    #[must_use]
    pub fn holds(&self, side: Side) -> bool {
        self.nodes[side.index()].holding
    }

    /// Returns the figures of the run so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = self.figures;
        figures.runs = 1;
        figures.simulated = self.now.since(Time::default());
        figures.most_moves = figures.moves;
        self.watch.add_to(&mut figures);
        figures
    }

    /// Returns the lines of the trace and removes them; empty if no trace was requested.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn is_active(&self, side: Side) -> bool {
        self.nodes[side.index()].is_active()
    }

    /// Returns the time of the next event and, if that event is a timer of a host, the host.
    fn next(&self) -> (Time, Option<Side>) {
        let timers = Side::BOTH.into_iter().filter_map(|side| {
            let node = &self.nodes[side.index()];
            let (_, fires) = node.timer.filter(|_| !node.paused)?;
            Some((fires, Some(side)))
        });
        let thing = self.queue.first().map(|at| (at, None));
        let never = Time::after_start(Duration::MAX);
        timers
            .chain(thing)
            .min_by_key(|(at, _)| *at)
            .unwrap_or((never, None))
    }

    fn happen(&mut self) {
        let Some(thing) = self.queue.take() else {
            return;
        };
        match thing {
            Happening::Start(side) => {
                if !self.is_down(side) {
                    self.start(side);
                }
            }
            Happening::Resume(side, left) => {
                if !self.is_down(side) {
                    self.resume(side, left);
                }
            }
            Happening::Advert(side, heard) => self.step(side, Event::Advert(heard)),
            Happening::Link(side, connection, news) => self.link_news(side, connection, news),
            Happening::LinkTry => self.try_link(),
            Happening::LinkGivesUp(side, connection) => self.give_link_up(side, connection),
            Happening::Served(side, boot, call, answers) => self.serve(side, boot, call, answers),
            Happening::Answer(side, boot, answer) => self.answered(side, boot, answer),
            Happening::Quiet(side, boot, hold) => self.quiet(side, boot, hold),
            Happening::Checked(side, boot) => {
                self.track(side, boot, |health| health.checked = true);
            }
            Happening::Synced(side, boot) => {
                self.track(side, boot, |health| health.synced = true);
            }
            Happening::Begin(index) => self.begin(index),
            Happening::End(index) => self.end(index),
        }
    }

    /// Checks that the present state of the world violates no invariant.
    fn look(&mut self) -> Result<(), Violation> {
        let running = [0, 1].map(|side| self.nodes[side].runs());
        let active = [0, 1].map(|side| self.nodes[side].is_active());
        let able = [0, 1].map(|side| self.nodes[side].is_able());
        let closer = (active == [true; 2]).then(|| Side::BOTH.map(|side| self.closer(side)));
        self.watch.look(self.now, running, able, active, closer);
        match self.watch.take_failure() {
            None => Ok(()),
            Some(what) => Err(Violation { at: self.now, what }),
        }
    }

    fn closer(&self, side: Side) -> Closer {
        let view = self.view(side);
        let now = self.nodes[side.index()].clock(self.now);
        Closer {
            silent: view.and_then(|view| Some(now.since(view.heard?))),
            sure: view.is_some_and(|view| view.has_address),
        }
    }

    /// Passes the present conditions to the measurement of overlaps, after the network, the EC2
    /// API, the link between the agents or the running of a host has changed.
    fn changed(&mut self) {
        let by_link = self.link.is_whole() && self.conditions.link_cut == [false; 2];
        let hears = |from: Side| {
            let by_link = by_link.then(|| self.link.flows(from).max(self.now));
            let by_adverts = self.conditions.adverts_arrive(from).then_some(self.now);
            by_adverts.or(by_link)
        };
        let hearing = hears(Side::A).zip(hears(Side::B));
        let hearing = hearing.map(|(a, b)| a.max(b));
        let api = self.conditions.api_is_well();
        self.watch.overlap().conditions(self.now, hearing, api);
    }

    fn fact(&mut self, fact: Fact) {
        self.facts.push((self.now, fact));
        self.note(|| format!("        {fact:?}"));
    }

    fn trace_step(&mut self, side: Side, event: Event, actions: &[Action]) {
        let routine = |action: &Action| {
            matches!(
                action,
                Action::Advert { .. } | Action::Send(PairMessage::Heartbeat(_))
            )
        };
        let quiet = matches!(
            event,
            Event::Timer | Event::Advert(_) | Event::PairMessage(PairMessage::Heartbeat(_))
        );
        if !quiet || !actions.iter().all(routine) {
            let actions: Vec<_> = actions.iter().filter(|action| !routine(action)).collect();
            self.note(|| format!("{side:?} {event:?} -> {actions:?}"));
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now.since(Time::default()).as_secs_f64();
            trace.push(format!("{at:>11.6}  {}", line()));
        }
    }
}
