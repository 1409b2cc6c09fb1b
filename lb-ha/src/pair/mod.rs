//! One host of the pair: everything that decides whether it is active, and where the address
//! belongs.
//!
//! It joins the virtual router (`vrrp`), the keeper of the Elastic IP (`elastic`), what is known of
//! the other host (`peer`), handing over (`handover`) and stepping back (`yielding`).
//!
//! The rules, in short:
//!
//! - The other host is heard by adverts and by heartbeats over the link; either is enough.
//! - Whoever becomes master takes the address, and looks after it while it is master.
//! - A master that finds the address elsewhere takes it back while it hears the other host as a
//!   backup. When it hears nobody, the other host took over because it heard nobody either: the
//!   owner of the address decides, and this host steps back.
//! - Where there is a link, a planned change is handed over: first requests end, then the address
//!   moves.

mod handover;
mod peer;
mod word;
mod yielding;

use std::{net::IpAddr, time::Duration};

use self::{handover::HandOver, peer::Peer, yielding::Yield};
pub use self::{
    handover::{Reason, Refusal},
    word::{Heartbeat, Word},
};
use crate::{
    Time,
    elastic::{Answer, Call, Keeper, News, Owner},
    vrrp::{self, Cause, Heard, Output, Permissions, Router, State},
};

/// How long a host that starts waits for its backends to be checked before it takes over from
/// nobody all the same.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for the flows of the other host, and for a link by which to ask for the role,
/// before it takes over from it all the same.
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// How long after the other host fell silent the address is watched most closely, and then closely.
const ALERT_SPAN: Duration = Duration::from_secs(60);
/// How often addresses are announced while another host has them as well.
const ANNOUNCE: Duration = Duration::from_secs(1);
/// How long a master that hears nobody may be without a confirmation that the address is its own.
const LEASE: Duration = Duration::from_secs(3);
/// The same once the silence is old, and while the other host is heard as a master. Longer, so that
/// an outage of the EC2 API that is soon over changes no role.
const LONG_LEASE: Duration = Duration::from_secs(30);

/// What does not change while the host runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The virtual router.
    pub vrrp: vrrp::Settings,
    /// The other host.
    pub peer: IpAddr,
    /// Whether there is a link to the other agent.
    pub link: bool,
    /// What says whose the address is.
    pub arbiter: Arbiter,
    /// How long requests may take to end when this host hands over.
    pub handover: Duration,
    /// For jitter.
    pub seed: u64,
}

/// What says whose the address is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arbiter {
    /// The EC2 API.
    Ec2,
    /// Nobody: whoever is master puts it on its own interface.
    None,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The agent is up.
    Start,
    /// The agent is up, and another process of this host was master until now.
    Resume {
        /// How long ago that process said its last word. Where the other host may have missed it by
        /// now, this is a [`Event::Start`].
        silent_for: Duration,
        /// Whether the address was confirmed to be here.
        has_address: bool,
    },
    /// The deadline has come, or any other moment.
    Timer,
    /// An advert was heard on the wire, checked, and is the other host's.
    Advert(Heard),
    /// The link stands.
    LinkUp,
    /// The link is gone.
    LinkDown,
    /// The other agent said something.
    Word(Word),
    /// What is tracked has changed.
    LocalHealth(LocalHealth),
    /// A call of the EC2 API ended.
    Answer(Answer),
    /// Hand over to the other host.
    HandOver(Reason),
    /// No request is under way here any more.
    Quiet,
    /// Settings that may change while it runs.
    Reconfigure {
        /// The priority, 1 to 254.
        priority: u8,
        /// Whether to take over from a master with a lower priority.
        preempt: bool,
        /// How long to hear such a master before taking over from it.
        preempt_delay: Duration,
        /// How long requests may take to end when this host hands over.
        handover: Duration,
    },
    /// The agent ends now.
    Stop,
}

/// What is tracked on this host.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LocalHealth {
    /// Added to the priority.
    pub weight: i16,
    /// The host must not be active.
    pub fault: bool,
    /// Every backend was checked since the agent started, and everything that is tracked.
    pub checked: bool,
    /// It has the other host's flows, as far as there is a link to get them by.
    pub synced: bool,
    /// The address would not come here: the EC2 API would refuse. It takes over from nobody who is
    /// well.
    pub hindered: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Send an advert.
    Advert {
        /// 0: goodbye.
        priority: u8,
        /// From this advert to the next.
        interval: Duration,
    },
    /// Say this over the link.
    Say(Word),
    /// Make a call of the EC2 API, and tell what came of it.
    Call(Call),
    /// The state of this host changed.
    Became(State, Cause),
    /// Put the addresses on this host's interface and announce them, or take them off.
    Addresses {
        /// Whether they belong here.
        here: bool,
    },
    /// Begin no new connection and let requests end, or serve again.
    Hold(bool),
    /// What came of [`Event::HandOver`].
    HandedOver(Result<(), Refusal>),
}

/// How the host is, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The state.
    pub state: State,
    /// The priority, with what is tracked.
    pub priority: u8,
    /// The last cause of a change.
    pub cause: Cause,
    /// Since when.
    pub since: Time,
    /// When the other host was last heard.
    pub heard: Option<Time>,
    /// The other host's last heartbeat that still counts.
    pub peer: Option<Heartbeat>,
    /// Whether the other host says that it is master.
    pub peer_is_master: bool,
    /// The last description of the address.
    pub owner: Option<(Time, Owner)>,
    /// When the address was last confirmed to be this host's.
    pub confirmed: Option<Time>,
    /// Whether the address is confirmed to be here, as far as it is wanted here.
    pub has_address: bool,
    /// Whether this host has stepped back for a host that it cannot hear.
    pub stepped_back: bool,
    /// Whether a hand-over is under way.
    pub handing_over: bool,
    /// Accepted moves of the address to this host.
    pub moves: u32,
}

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    settings: Settings,
    router: Router,
    keeper: Option<Keeper>,
    peer: Peer,
    standing: LocalHealth,
    handover: Option<HandOver>,
    yielding: Option<Yield>,
    /// The role was handed over so that the agent can end, which it is about to do.
    has_left: bool,
    /// How many times this host has stepped back.
    yields: u32,
    /// From when on a master with a lower priority is asked to hand over.
    ask_from: Option<Time>,
    /// This host gave way on an order, to a peer of this priority: it does not take over from it by
    /// priority, unless that falls.
    gave_way: Option<u8>,
    /// The moment of the last step.
    now: Time,
    started: Option<Time>,
    /// When the other host fell silent, as far as this host was master then.
    silent_since: Option<Time>,
    /// Since when this host is master and does not hear the other one as a standby.
    unpaired_since: Option<Time>,
    /// From when on both claim to be master and this host has lost the address.
    disputed: Option<Time>,
    /// Since when the two do not hear each other by the link: before that the role is asked for.
    apart_since: Time,
    next_beat: Option<Time>,
    last_beat: Option<Heartbeat>,
    cause: Cause,
    since: Time,
    /// Whether the addresses are put on this host.
    addresses_here: bool,
    /// When they were last put there.
    announced: Option<Time>,
    /// Another master was heard while they were here.
    contested: bool,
    actions: Vec<Action>,
    outputs: Vec<Output>,
}

impl Host {
    /// A host that has not started. `now` is the present.
    #[must_use]
    pub fn new(now: Time, settings: Settings) -> Self {
        let permissions = Permissions {
            weight: 0,
            fault: false,
            may_take: false,
            may_preempt: false,
        };
        let keeper = (settings.arbiter == Arbiter::Ec2).then(|| Keeper::new(now, settings.seed));
        Self {
            router: Router::new(settings.vrrp.clone(), permissions),
            keeper,
            peer: Peer::at(settings.peer),
            settings,
            standing: LocalHealth::default(),
            handover: None,
            yielding: None,
            has_left: false,
            yields: 0,
            ask_from: None,
            gave_way: None,
            now,
            started: None,
            silent_since: None,
            unpaired_since: None,
            disputed: None,
            apart_since: now,
            next_beat: None,
            last_beat: None,
            cause: Cause::Started,
            since: now,
            addresses_here: false,
            announced: None,
            contested: false,
            actions: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Takes in what happened, and says what is to be done, in this order.
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
            Event::Word(word) => self.word(now, word),
            Event::LocalHealth(standing) => self.standing = standing,
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

    /// When [`Event::Timer`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.started?;
        let keeper = self.keeper.as_ref().and_then(Keeper::deadline);
        let handover = self.handover.as_ref().map(HandOver::deadline);
        let serviced = [self.router.deadline(), keeper, handover, self.next_beat];
        // These mean something once, and stay in the past afterwards.
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

    /// How the host is.
    #[must_use]
    pub fn view(&self, now: Time) -> View {
        let keeper = self.keeper.as_ref();
        View {
            state: self.router.state(),
            priority: self.router.priority(),
            cause: self.cause,
            since: self.since,
            heard: self.peer.heard(),
            peer: self.peer.beat(now, self.detection()),
            peer_is_master: self.peer.is_master(now, self.detection()),
            owner: keeper.and_then(Keeper::seen),
            confirmed: keeper.and_then(Keeper::confirmed),
            has_address: self.has_address(),
            stepped_back: self.yielding.is_some(),
            handing_over: self.handover.is_some(),
            moves: keeper.map_or(0, Keeper::moves),
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.router.state()
    }

    /// The priority, with what is tracked.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.router.priority()
    }

    fn start(&mut self, now: Time) {
        self.begin(now);
        // What an agent before this one left on the interface is not ours.
        self.actions.push(Action::Addresses { here: false });
        self.addresses_here = false;
        self.route(now, |router, out| router.start(now, out));
    }

    /// Goes on where another process of this host ended: the other host notices nothing but a new link.
    fn resume(&mut self, now: Time, has_address: bool) {
        self.begin(now);
        if let Some(keeper) = self.keeper.as_mut().filter(|_| has_address) {
            keeper.resume(now);
        }
        self.route(now, |router, out| router.resume(now, out));
    }

    fn begin(&mut self, now: Time) {
        self.started = Some(now);
        self.since = now;
        self.apart_since = now;
        if self.settings.link {
            self.next_beat = Some(now);
        }
    }

    fn stop(&mut self, now: Time) {
        self.route(now, Router::stop);
        self.place_addresses(now);
        self.started = None;
        self.next_beat = None;
        self.end_hand_over(Err(Refusal::Stopping));
    }

    fn advert(&mut self, now: Time, heard: Heard) {
        self.peer.advertised(now, heard.priority == 0);
        self.hear(now, heard);
    }

    fn hear(&mut self, now: Time, heard: Heard) {
        if self.router.state() == State::Master && heard.priority != 0 {
            // Two masters: one of them has just taken the address, or is about to.
            match &mut self.keeper {
                Some(keeper) => keeper.look(now),
                None => self.contested = true,
            }
        }
        self.route(now, |router, out| router.hear(now, heard, out));
    }

    fn link_up(&mut self, now: Time) {
        self.peer.linked = true;
        self.next_beat = Some(now);
        self.last_beat = None;
    }

    fn word(&mut self, now: Time, word: Word) {
        match word {
            Word::Heartbeat(beat) => self.heartbeat(now, beat),
            Word::Ask => self.asked(now),
            Word::TakeOver => self.offered(now),
            Word::Decline => self.declined(now),
        }
    }

    fn heartbeat(&mut self, now: Time, beat: Heartbeat) {
        let moved = self.peer.beats(now, beat);
        if moved && let Some(keeper) = &mut self.keeper {
            keeper.look(now);
        }
        if self.gave_way.is_some_and(|then| beat.priority < then) {
            self.gave_way = None;
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
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        match keeper.answer(now, answer) {
            None => {}
            Some(News::Acquired | News::Seen(Owner::Us)) => self.address_is_here(now),
            Some(News::Seen(Owner::Nobody)) => self.yielding = None,
            Some(News::Seen(Owner::Other)) => {}
            Some(News::Lost(owner)) => self.address_is_lost(now, owner),
        }
    }

    /// Runs the router, and does what it says.
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
        if let Some(keeper) = &mut self.keeper {
            keeper.want(now, master);
        }
        if master {
            self.gave_way = None;
            self.yielding = None;
            self.disputed = None;
        }
        self.actions.push(Action::Became(state, cause));
        self.role_changed_in_hand_over(state, cause);
    }

    /// The addresses follow the role. Where the EC2 API says whose they are, a backup keeps what it was
    /// last seen with: as long as it is sent there, nobody else can serve.
    fn place_addresses(&mut self, now: Time) {
        let here = match self.router.state() {
            State::Master => true,
            State::Backup => self.address_seen_here(),
            State::Init | State::Fault => false,
        };
        // Another host had them as well: the neighbours may have heard it last.
        let again = std::mem::take(&mut self.contested)
            && here
            && self
                .announced
                .is_none_or(|then| now.since(then) >= ANNOUNCE);
        if here != self.addresses_here || again {
            self.addresses_here = here;
            self.announced = here.then_some(now);
            self.actions.push(Action::Addresses { here });
        }
    }

    /// After every event: what follows from where things stand.
    fn settle(&mut self, now: Time) {
        self.watch_silence(now);
        self.watch_lease(now);
        self.tick_yield(now);
        self.tick_hand_over(now);
        self.allow(now);
        self.route(now, |router, out| router.tick(now, out));
        self.place_addresses(now);
        self.beat(now);
        if let Some(call) = self.keeper.as_mut().and_then(|keeper| keeper.call(now)) {
            self.actions.push(Action::Call(call));
        }
    }

    /// Tells the router what it may do.
    fn allow(&mut self, now: Time) {
        let mut cause = Cause::Silence;
        if self.yielding.is_none() && self.address_seen_here() {
            cause = Cause::AddressHere;
        }
        let permissions = Permissions {
            weight: self.standing.weight,
            fault: self.standing.fault,
            may_take: self.may_take(now),
            may_preempt: self.may_preempt(now),
        };
        self.route(now, |router, out| {
            router.allow(now, permissions, cause, out);
        });
    }

    fn may_take(&self, now: Time) -> bool {
        let checked = self.standing.checked || self.runs_for(now, START_LIMIT);
        let yielding = self.yielding.as_ref();
        checked && yielding.is_none_or(Yield::may_take) && !self.leaves()
    }

    fn may_preempt(&self, now: Time) -> bool {
        let yielding = self.yielding.as_ref();
        self.is_ready(now)
            && self.gave_way.is_none()
            && yielding.is_none_or(|yielding| yielding.may_preempt(now))
            && !self.prefers_to_ask(now)
    }

    /// Whether it may become active without loss: backends checked, flows here, and the address can
    /// be had, as far as the last call says.
    fn is_ready(&self, now: Time) -> bool {
        let both = self.standing.checked && self.standing.synced;
        let reaches = self.keeper.as_ref().is_none_or(|keeper| !keeper.failing());
        !self.standing.fault && reaches && (both || self.runs_for(now, SYNC_LIMIT))
    }

    fn runs_for(&self, now: Time, span: Duration) -> bool {
        self.started
            .is_some_and(|started| now.since(started) >= span)
    }

    /// How long nothing may be heard before the other host counts as silent.
    fn detection(&self) -> Duration {
        self.router.master_down_interval()
    }

    fn has_address(&self) -> bool {
        match &self.keeper {
            Some(keeper) => keeper.acquired(),
            None => self.router.state() == State::Master,
        }
    }

    fn address_seen_here(&self) -> bool {
        let seen = self.keeper.as_ref().and_then(Keeper::seen);
        seen.is_some_and(|(_, owner)| owner == Owner::Us)
    }

    /// A heartbeat: once an interval, and when something in it changed.
    fn beat(&mut self, now: Time) {
        let Some(due) = self.next_beat else {
            return;
        };
        let beat = Heartbeat {
            state: self.router.state(),
            priority: self.router.priority(),
            interval_millis: u32::try_from(self.router.interval().as_millis()).unwrap_or(u32::MAX),
            ready: self.is_ready(now) && self.may_take(now),
            hears_you: self.peer.beat(now, self.detection()).is_some(),
            has_address: self.has_address(),
            moves: self.keeper.as_ref().map_or(0, Keeper::moves),
        };
        if now < due && self.last_beat == Some(beat) {
            return;
        }
        self.next_beat = Some(now + self.router.interval());
        self.last_beat = Some(beat);
        if self.peer.linked {
            self.actions.push(Action::Say(Word::Heartbeat(beat)));
        }
    }
}

#[cfg(test)]
mod tests;
