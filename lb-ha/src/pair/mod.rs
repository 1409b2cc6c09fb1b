//! The pair state machine of one host: decides whether the host is active, and which host has the
//! address that moves between the hosts.
//!
//! It combines the virtual router (`vrrp`), the reconciler of the Elastic IP (`elastic`), the state
//! of the peer (`peer`), the hand-over (`handover`) and stepping back (`yielding`).
//!
//! The rules, in short:
//!
//! - The peer is heard by adverts and by heartbeats over the link between the two agents; either is
//!   enough.
//! - A host that becomes master takes the Elastic IP, and reconciles its owner while it is master.
//! - A master that finds the Elastic IP elsewhere takes it back while it hears the peer as a
//!   backup. When it does not hear the peer, the peer took over because it heard nothing either:
//!   the owner of the Elastic IP decides, and this host steps back.
//! - Where the agents have a link, a planned change is a hand-over: first requests end, then the
//!   address of the pair moves.

mod address;
mod event;
mod handover;
mod message;
mod peer;
mod request;
mod yielding;

use std::time::Duration;

use self::{
    address::Placement,
    handover::{Claims, HandOver},
    peer::Peer,
    yielding::{Doubt, Yield},
};
pub use self::{
    event::{Action, Arbiter, Event, LocalHealth, Settings, View},
    message::{Heartbeat, PairMessage},
    request::{Reason, Refusal},
};
use crate::{
    Time,
    elastic::{Answer, News, Owner, Reconciler},
    vrrp::{Cause, Heard, Output, Permissions, Router, State},
};

/// Longest time that a host waits after its start for its backends to be checked, before it becomes
/// active where no master is heard.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Longest time that a host waits for the flows of the peer, and for a link to the peer to ask for
/// the role, before it takes over by its priority.
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// Time after the peer fell silent in which the owner of the Elastic IP is polled most often.
const ALERT_SPAN: Duration = Duration::from_secs(60);
/// Longest time without a confirmation by the EC2 API that this host has the Elastic IP, for a
/// master that does not hear the peer: after it, the master steps back.
const LEASE: Duration = Duration::from_secs(3);
/// Like [`LEASE`], but for when the peer has been silent for long, or is heard as a master. It is
/// longer, so a short outage of the EC2 API changes no role.
const LONG_LEASE: Duration = Duration::from_secs(30);

/// When this host sends heartbeats over the link to the peer.
#[derive(Clone, Debug, Default)]
struct Heartbeats {
    /// When the next heartbeat is due; `None` while the link to the peer is down.
    next: Option<Time>,
    /// The last heartbeat that was sent over the current connection of the link to the peer; `None`
    /// if none was.
    last: Option<Heartbeat>,
}

/// The pair state machine of one host.
#[derive(Clone, Debug)]
pub struct Host {
    settings: Settings,
    router: Router,
    reconciler: Option<Reconciler>,
    peer: Peer,
    health: LocalHealth,
    handover: Option<HandOver>,
    /// The conditions under which this host asks its peer for the role of the active host.
    claims: Claims,
    yielding: Option<Yield>,
    /// Number of times that this host has stepped back since the hosts last heard each other.
    yields: u32,
    /// Time of the last call of [`Self::step`].
    now: Time,
    started: Option<Time>,
    /// Reasons to doubt that this host, as master, still has the Elastic IP.
    doubt: Doubt,
    heartbeats: Heartbeats,
    cause: Cause,
    since: Time,
    placement: Placement,
    actions: Vec<Action>,
    outputs: Vec<Output>,
}

impl Host {
    /// Returns the state machine of a host that has not started.
    #[must_use]
    pub fn new(now: Time, settings: Settings) -> Self {
        let permissions = Permissions {
            weight: 0,
            fault: false,
            may_take: false,
            may_preempt: false,
        };
        let reconciler =
            (settings.arbiter == Arbiter::Ec2).then(|| Reconciler::new(now, settings.seed));
        Self {
            router: Router::new(settings.vrrp.clone(), permissions),
            reconciler,
            peer: Peer::at(settings.peer),
            settings,
            health: LocalHealth::default(),
            handover: None,
            yielding: None,
            yields: 0,
            claims: Claims::new(now),
            now,
            started: None,
            doubt: Doubt::default(),
            heartbeats: Heartbeats::default(),
            cause: Cause::Started,
            since: now,
            placement: Placement::default(),
            actions: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Handles an event. Returns the actions to carry out, in order.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Start => self.start(now),
            Event::Resume {
                silent_for,
                has_address,
            } if silent_for < self.detection() => self.resume(now, has_address),
            Event::Resume { .. } => self.start(now),
            Event::Timer => {}
            Event::Advert(heard) => self.advert(now, heard),
            Event::LinkUp => self.link_up(now),
            Event::LinkDown => {
                self.peer.link_down();
                self.forget_question();
            }
            Event::PairMessage(message) => self.receive_message(now, message),
            Event::LocalHealth(health) => self.health = health,
            Event::Answer(answer) => self.answer(now, answer),
            Event::HandOver(reason) => self.hand_over(now, reason),
            Event::Quiet => self.quiet(now),
            Event::Reconfigure {
                priority,
                preempt,
                preempt_delay,
                handover,
            } => {
                self.settings.handover = handover;
                self.settings.vrrp.priority = priority;
                self.settings.vrrp.preempt = preempt;
                self.settings.vrrp.preempt_delay = preempt_delay;
                let vrrp = self.settings.vrrp.clone();
                self.route(now, |router, out| router.reconfigure(now, vrrp, out));
            }
            Event::Stop => self.stop(now),
        }
        if self.started.is_some() {
            self.settle(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// Returns when [`Event::Timer`] is due; `None` if it is not due at any time.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.started?;
        let reconciler = self.reconciler.as_ref().and_then(Reconciler::deadline);
        let handover = self.handover.as_ref().map(HandOver::deadline);
        let serviced = [
            self.router.deadline(),
            reconciler,
            handover,
            self.heartbeats.next,
        ];
        // What happens at each of these deadlines happens once; a deadline in the past needs no
        // timer any more.
        let once = [
            self.silence_deadline(),
            self.lease_end(),
            self.started.map(|started| started + START_LIMIT),
            self.started.map(|started| started + SYNC_LIMIT),
            self.yielding.as_ref().and_then(Yield::deadline),
        ];
        let ahead = once.into_iter().flatten().filter(|at| *at > self.now);
        serviced.into_iter().flatten().chain(ahead).min()
    }

    /// Returns what status and metrics show of this host.
    #[must_use]
    pub fn view(&self, now: Time) -> View {
        let reconciler = self.reconciler.as_ref();
        View {
            state: self.router.state(),
            priority: self.router.priority(),
            cause: self.cause,
            since: self.since,
            heard: self.peer.heard(),
            peer: self.peer.beat(now, self.detection()),
            peer_is_master: self.peer.is_master(now, self.detection()),
            owner: reconciler.and_then(Reconciler::seen),
            confirmed: reconciler.and_then(Reconciler::confirmed),
            has_address: self.has_address(),
            stepped_back: self.yielding.is_some(),
            handing_over: self.handover.is_some(),
            moves: reconciler.map_or(0, Reconciler::moves),
        }
    }

    /// Returns the state of the virtual router.
    #[must_use]
    pub fn state(&self) -> State {
        self.router.state()
    }

    /// Returns this host's priority, including the weights of tracked objects.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.router.priority()
    }

    fn start(&mut self, now: Time) {
        self.begin(now);
        // An earlier agent may have left the moving addresses on the interface.
        self.actions.push(Action::Addresses { here: false });
        self.placement.here = false;
        self.route(now, |router, out| router.start(now, out));
    }

    /// Continues the role of another process of this host: the peer notices only a new connection
    /// of the link between the two agents.
    fn resume(&mut self, now: Time, has_address: bool) {
        self.begin(now);
        if let Some(reconciler) = self.reconciler.as_mut().filter(|_| has_address) {
            reconciler.resume(now);
        }
        self.route(now, |router, out| router.resume(now, out));
    }

    fn begin(&mut self, now: Time) {
        self.started = Some(now);
        self.since = now;
        self.claims.apart_since = now;
        if self.settings.link {
            self.heartbeats.next = Some(now);
        }
    }

    fn stop(&mut self, now: Time) {
        self.route(now, Router::stop);
        self.place_addresses(now);
        self.started = None;
        self.heartbeats.next = None;
        self.end_hand_over(Err(Refusal::Stopping));
    }

    fn advert(&mut self, now: Time, heard: Heard) {
        self.peer.advertised(now, heard.priority == 0);
        self.hear(now, heard);
    }

    fn hear(&mut self, now: Time, heard: Heard) {
        if self.router.state() == State::Master && heard.priority != 0 {
            // Both hosts are master: one has just taken the address that moves between the hosts,
            // or is about to.
            match &mut self.reconciler {
                Some(reconciler) => reconciler.look(now),
                None => self.placement.contested = true,
            }
        }
        self.route(now, |router, out| router.hear(now, heard, out));
    }

    fn link_up(&mut self, now: Time) {
        self.peer.linked = true;
        self.heartbeats.next = Some(now);
        self.heartbeats.last = None;
    }

    fn receive_message(&mut self, now: Time, message: PairMessage) {
        match message {
            PairMessage::Heartbeat(beat) => self.heartbeat(now, beat),
            PairMessage::Ask => self.asked(now),
            PairMessage::TakeOver => self.offered(now),
            PairMessage::Decline => self.declined(now),
        }
    }

    fn heartbeat(&mut self, now: Time, beat: Heartbeat) {
        let moved = self.peer.beats(now, beat);
        if moved && let Some(reconciler) = &mut self.reconciler {
            reconciler.look(now);
        }
        if self
            .claims
            .gave_way
            .is_some_and(|then| beat.priority < then)
        {
            self.claims.gave_way = None;
        }
        if beat.state == State::Master {
            self.consider_asking(now, beat);
            let heard = Heard {
                priority: beat.priority,
                interval: beat.interval(),
                from: self.peer.address,
            };
            self.hear(now, heard);
        }
    }

    fn answer(&mut self, now: Time, answer: Answer) {
        let Some(reconciler) = &mut self.reconciler else {
            return;
        };
        match reconciler.answer(now, answer) {
            None => {}
            Some(News::Acquired | News::Seen(Owner::Us)) => self.address_is_here(now),
            Some(News::Seen(Owner::Nobody)) => self.yielding = None,
            Some(News::Seen(Owner::Other)) => {}
            Some(News::Lost(owner)) => self.address_is_lost(now, owner),
        }
    }

    /// Runs `run` on the virtual router, and turns the router's outputs into actions.
    fn route(&mut self, now: Time, run: impl FnOnce(&mut Router, &mut Vec<Output>)) {
        let mut outputs = std::mem::take(&mut self.outputs);
        run(&mut self.router, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Advert(priority) => self.actions.push(Action::Advert {
                    priority,
                    interval: self.router.interval(),
                }),
                Output::Became(state, cause) => self.became(now, state, cause),
            }
        }
        self.outputs = outputs;
    }

    fn became(&mut self, now: Time, state: State, cause: Cause) {
        self.cause = cause;
        self.since = now;
        let master = state == State::Master;
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.want(now, master);
        }
        if master {
            self.claims.gave_way = None;
            self.yielding = None;
            self.doubt.disputed = None;
        }
        self.actions.push(Action::Became(state, cause));
        self.role_changed_in_hand_over(state, cause);
    }

    /// Runs after every event: derives all actions from the current state of the host.
    fn settle(&mut self, now: Time) {
        self.watch_silence(now);
        self.watch_lease(now);
        self.tick_yield(now);
        self.tick_hand_over(now);
        self.allow(now);
        self.route(now, |router, out| router.tick(now, out));
        self.place_addresses(now);
        self.beat(now);
        if let Some(call) = self
            .reconciler
            .as_mut()
            .and_then(|reconciler| reconciler.call(now))
        {
            self.actions.push(Action::Call(call));
        }
    }

    /// Sets what the virtual router may do, by the current state of the host.
    fn allow(&mut self, now: Time) {
        let mut cause = Cause::Silence;
        if self.yielding.is_none() && self.address_seen_here() {
            cause = Cause::AddressHere;
        }
        let permissions = Permissions {
            weight: self.health.weight,
            fault: self.health.fault,
            may_take: self.may_take(now),
            may_preempt: self.may_preempt(now),
        };
        self.route(now, |router, out| {
            router.allow(now, permissions, cause, out);
        });
    }

    fn may_take(&self, now: Time) -> bool {
        let checked = self.health.checked || self.runs_for(now, START_LIMIT);
        let yielding = self.yielding.as_ref();
        checked && yielding.is_none_or(Yield::may_take) && !self.leaves()
    }

    fn may_preempt(&self, now: Time) -> bool {
        let yielding = self.yielding.as_ref();
        self.is_ready(now)
            && self.claims.gave_way.is_none()
            && yielding.is_none_or(|yielding| yielding.may_preempt(now))
            && !self.prefers_to_ask(now)
    }

    /// Whether this host may become active without loss: its backends are checked, it has the flows
    /// of the active host, and the last call to the EC2 API succeeded.
    fn is_ready(&self, now: Time) -> bool {
        let both = self.health.checked && self.health.synced;
        let reaches = self
            .reconciler
            .as_ref()
            .is_none_or(|reconciler| !reconciler.failing());
        !self.health.fault && reaches && (both || self.runs_for(now, SYNC_LIMIT))
    }

    fn runs_for(&self, now: Time, span: Duration) -> bool {
        self.started
            .is_some_and(|started| now.since(started) >= span)
    }

    /// Returns the time without a message after which the peer counts as silent.
    fn detection(&self) -> Duration {
        self.router.master_down_interval()
    }

    /// Sends a heartbeat if an interval has passed since the last heartbeat, or if its content has
    /// changed.
    fn beat(&mut self, now: Time) {
        let Some(due) = self.heartbeats.next else {
            return;
        };
        let beat = Heartbeat {
            state: self.router.state(),
            priority: self.router.priority(),
            interval_millis: u32::try_from(self.router.interval().as_millis()).unwrap_or(u32::MAX),
            ready: self.is_ready(now) && self.may_take(now),
            hears_you: self.peer.beat(now, self.detection()).is_some(),
            has_address: self.has_address(),
            moves: self.reconciler.as_ref().map_or(0, Reconciler::moves),
        };
        if now < due && self.heartbeats.last == Some(beat) {
            return;
        }
        self.heartbeats.next = Some(now + self.router.interval());
        self.heartbeats.last = Some(beat);
        if self.peer.linked {
            self.actions
                .push(Action::Send(PairMessage::Heartbeat(beat)));
        }
    }
}

#[cfg(test)]
mod tests;
