//! The pair thread: one loop passes events to the pair state machine and carries out the actions
//! that it returns.

use std::{
    sync::mpsc as sync,
    time::{Duration, Instant},
};

use lb_ha::{
    Time,
    backlog::{self, Backlog, Source},
    elastic::{Answer, Failure},
    pair::{Action, Event, Host, LocalHealth},
    vrrp::{Heard, State},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Effect, Left, PairCommand, Start,
    act::{Actuators, Opened},
    flow_sync::FlowSync,
    parts::Parts,
    settings,
    snapshot::{Clock, PairSnapshot},
};
use crate::{
    agent::Error,
    aws,
    ha::{
        adverts::Received,
        track::{self, Tracking},
    },
    peer,
};

/// The pair thread reads the health of the tracked objects (interfaces, listeners, pools, scripts)
/// again when what it has read is older than this.
const LOOK: Duration = Duration::from_millis(200);
/// The longest time without an event after which the pair thread publishes its snapshot again.
const IDLE: Duration = Duration::from_secs(1);
/// How long the pair thread waits, after it did not run for a while, for the tasks that read the
/// sockets to deliver all that has arrived.
const CATCHING_UP: Duration = Duration::from_millis(5);

/// Runs the pair thread. It reports to `bound` whether all sockets and workers could be opened, and
/// takes part in the pair once `start` has a value.
pub(super) fn run(
    parts: Parts,
    (commands, effects): (
        mpsc::UnboundedReceiver<PairCommand>,
        mpsc::UnboundedSender<Effect>,
    ),
    bound: &sync::Sender<Result<(), Error>>,
    start: oneshot::Receiver<Start>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _gone = bound.send(Err(Error::Runtime(error)));
            return;
        }
    };
    let end = runtime.block_on(async {
        let mut opened = match Actuators::open(&parts, effects) {
            Ok(opened) => opened,
            Err(error) => {
                let _gone = bound.send(Err(error));
                return End::Stopped;
            }
        };
        let _gone = bound.send(Ok(()));
        match wait_for_start(start, &mut opened).await {
            Some(start) => PairThread::new(parts, commands, opened, start).run().await,
            None => End::Stopped,
        }
    });
    // The runtime is dropped first, because its tasks hold sockets that another process is about to
    // open.
    drop(runtime);
    if let End::Left(done, left) = end {
        // Sending fails if the upgrade, which asked for the state, no longer waits for it.
        let _gone = done.send(left);
    }
}

/// Waits until the agent starts the pair. Adverts that arrive before that are discarded, because
/// they will be outdated. Returns `None` if the agent does not start.
async fn wait_for_start(mut start: oneshot::Receiver<Start>, opened: &mut Opened) -> Option<Start> {
    loop {
        tokio::select! {
            start = &mut start => return start.ok(),
            Some(_early) = opened.adverts.recv() => {}
        }
    }
}

/// How the pair thread ended.
enum End {
    /// The thread sent its goodbye, or the agent dropped the pair.
    Stopped,
    /// The thread left the pair with this state, from which another process continues. The state
    /// must be sent through the channel to whoever ordered the thread to leave.
    Left(oneshot::Sender<Left>, Left),
}

/// The sources of the events that the pair thread handles.
struct Inputs {
    commands: mpsc::UnboundedReceiver<PairCommand>,
    adverts: mpsc::Receiver<Received>,
    /// The events of the link to the peer; `None` if no such link is configured.
    link: Option<mpsc::Receiver<peer::Event>>,
    /// The worker that makes EC2 calls; `None` if there is no Elastic IP.
    ec2: Option<aws::Worker>,
    /// Receives the summary of the tracked objects; `None` if tracking could not be started.
    health: Option<watch::Receiver<track::TrackingSummary>>,
}

/// An event that the pair thread handles.
enum ThreadEvent {
    PairCommand(PairCommand),
    Advert(Received),
    Link(peer::Event),
    Call(aws::Done),
    Tracked,
    Timer,
    /// No other event arrived for [`IDLE`].
    Idle,
    /// The agent dropped the sender of commands, so the thread ends.
    Ended,
}

impl ThreadEvent {
    fn source(&self) -> Source {
        match self {
            Self::Advert(_) => Source::Adverts,
            Self::Link(_) => Source::Link,
            Self::PairCommand(_)
            | Self::Call(_)
            | Self::Tracked
            | Self::Timer
            | Self::Idle
            | Self::Ended => Source::Host,
        }
    }
}

struct PairThread {
    origin: Instant,
    host: Host,
    inputs: Inputs,
    actuators: Actuators,
    /// The tracking of objects; `None` if it could not be started.
    tracking: Option<Tracking>,
    health: LocalHealth,
    own_commands: mpsc::WeakUnboundedSender<PairCommand>,
    /// When the state of the tracked objects was last read.
    tracked_at: Instant,
    /// Whether every backend has been checked since the agent started.
    backends_checked: bool,
    /// Whether every tracked object has been checked since the agent started.
    looked: bool,
    /// Tracks whether all flows of the peer were imported.
    flow_sync: FlowSync,
}

impl PairThread {
    fn new(
        parts: Parts,
        commands: mpsc::UnboundedReceiver<PairCommand>,
        opened: Opened,
        start: Start,
    ) -> Self {
        let origin = Instant::now();
        let Opened {
            mut actuators,
            adverts,
            link,
            ec2,
        } = opened;
        if let Some(flows) = start.flows {
            actuators.carry_flows(flows, parts.commands.clone());
        }
        let tracking = {
            let _background = parts.background.enter();
            Tracking::start(start.watched)
        };
        // If tracking cannot be started, the pair runs without it, which is better than not
        // running.
        let tracking = tracking
            .inspect_err(|error| {
                tracing::error!(error = %error, "cannot track the state of this host: the pair runs without it");
            })
            .ok();
        let mut thread = Self {
            origin,
            host: Host::new(Time::default(), settings::settings(&parts.ha)),
            inputs: Inputs {
                commands,
                adverts,
                link,
                ec2,
                health: tracking.as_ref().map(Tracking::summary),
            },
            actuators,
            tracking,
            health: LocalHealth::default(),
            own_commands: parts.commands,
            tracked_at: origin,
            backends_checked: false,
            looked: false,
            flow_sync: FlowSync::default(),
        };
        let begin = parts.left.map_or(Event::Start, |left| left.event());
        if let Event::Resume { silent_for, .. } = begin {
            tracing::info!(?silent_for, "resuming the role");
        }
        thread.step(begin);
        thread
    }

    async fn run(mut self) -> End {
        let mut backlog = Backlog::default();
        loop {
            let event = self.event().await;
            backlog.push(event.source(), event);
            if backlog::is_late(self.now(), self.host.deadline()) {
                self.catch_up(&mut backlog).await;
            }
            while let Some(event) = backlog.pop() {
                match event {
                    ThreadEvent::PairCommand(PairCommand::Stop(done)) => {
                        return self.stop(done).await;
                    }
                    ThreadEvent::PairCommand(PairCommand::Leave(done)) => {
                        let left = Left::now(&self.host.view(self.now()));
                        return End::Left(done, left);
                    }
                    ThreadEvent::Ended => return End::Stopped,
                    event => self.handle(event),
                }
            }
            if self.tracked_at.elapsed() >= LOOK {
                self.look_at_tracked();
            }
        }
    }

    /// Handles an event, unless it is one that ends the thread.
    fn handle(&mut self, event: ThreadEvent) {
        match event {
            ThreadEvent::PairCommand(command) => self.command(command),
            ThreadEvent::Advert(received) => self.advert(&received),
            ThreadEvent::Link(event) => self.link(event),
            ThreadEvent::Call(done) => {
                self.actuators.call_ended(&done);
                self.step(Event::Answer(done.answer()));
            }
            ThreadEvent::Tracked => self.look_at_tracked(),
            ThreadEvent::Timer => self.step(Event::Timer),
            ThreadEvent::Idle => self.publish(),
            // The loop of the thread handles this event by ending.
            ThreadEvent::Ended => {}
        }
    }

    async fn stop(mut self, done: oneshot::Sender<()>) -> End {
        self.step(Event::Stop);
        self.actuators.stop().await;
        // Sending fails if the caller of `Pair::stop` no longer waits for the goodbye.
        let _gone = done.send(());
        End::Stopped
    }

    async fn event(&mut self) -> ThreadEvent {
        let deadline = self.host.deadline();
        let Inputs {
            commands,
            adverts,
            link,
            ec2,
            health,
        } = &mut self.inputs;
        let origin = self.origin;
        let timer = async {
            match deadline {
                Some(deadline) => {
                    let at = origin + deadline.since(Time::default());
                    tokio::time::sleep_until(at.into()).await;
                }
                None => std::future::pending().await,
            }
        };
        let heard = async {
            match link {
                Some(link) => link.recv().await,
                None => std::future::pending().await,
            }
        };
        let called = async {
            match ec2 {
                Some(ec2) => ec2.done().await,
                None => std::future::pending().await,
            }
        };
        let tracked = async {
            if let Some(health) = health
                && health.changed().await.is_ok()
            {
                health.mark_unchanged();
                return;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // The selection is biased so that messages that have arrived come before the timer,
            // whose expiry means that the peer is silent.
            biased;
            command = commands.recv() => command.map_or(ThreadEvent::Ended, ThreadEvent::PairCommand),
            Some(received) = adverts.recv() => ThreadEvent::Advert(received),
            Some(event) = heard => ThreadEvent::Link(event),
            done = called => ThreadEvent::Call(done),
            () = tracked => ThreadEvent::Tracked,
            () = timer => ThreadEvent::Timer,
            () = tokio::time::sleep(IDLE) => ThreadEvent::Idle,
        }
    }

    /// Adds the adverts, and the messages over the link to the peer, that arrived while the pair
    /// thread did not run to the backlog. A host that was suspended must not consider the peer
    /// silent while the peer's messages wait in a socket.
    async fn catch_up(&mut self, backlog: &mut Backlog<ThreadEvent>) {
        tokio::time::sleep(CATCHING_UP).await;
        while let Ok(received) = self.inputs.adverts.try_recv() {
            backlog.push(Source::Adverts, ThreadEvent::Advert(received));
        }
        while let Some(Ok(event)) = self.inputs.link.as_mut().map(mpsc::Receiver::try_recv) {
            backlog.push(Source::Link, ThreadEvent::Link(event));
        }
    }

    fn advert(&mut self, received: &Received) {
        self.step(Event::Advert(Heard {
            priority: received.advert.priority.get(),
            interval: received.advert.interval.duration(),
            from: received.from,
        }));
    }

    fn command(&mut self, command: PairCommand) {
        match command {
            PairCommand::Carry(flows) => {
                self.actuators.carry_flows(flows, self.own_commands.clone());
            }
            PairCommand::HandOver(reason) => self.step(Event::HandOver(reason)),
            PairCommand::Quiet => self.step(Event::Quiet),
            PairCommand::Checked => {
                self.backends_checked = true;
                self.look_at_tracked();
            }
            PairCommand::Synced(session) => {
                self.flow_sync.imported(session);
                self.step(Event::Timer);
            }
            PairCommand::Reconfigure(new) => {
                let (ha, watched) = *new;
                if let Some(tracking) = &mut self.tracking {
                    tracking.apply(watched);
                }
                self.actuators.reconfigure(&ha);
                self.step(settings::reconfigure(&ha));
            }
            PairCommand::Send(message) => self.actuators.send(&message),
            // The loop of the thread handles these two commands itself, because they end the loop.
            PairCommand::Stop(_) | PairCommand::Leave(_) => {}
        }
    }

    fn link(&mut self, event: peer::Event) {
        match event {
            peer::Event::Up(peer) => {
                self.flow_sync.link_up(peer.session);
                self.actuators.link_changed(Some(peer));
                self.step(Event::LinkUp);
            }
            peer::Event::Down(_reason) => {
                self.actuators.link_changed(None);
                self.step(Event::LinkDown);
            }
            peer::Event::PairMessage(message) => self.step(Event::PairMessage(message)),
            peer::Event::Message(message) => self.actuators.received(message),
        }
    }

    /// Reads the state of the tracked objects, and whether the EC2 API would permit to move the
    /// Elastic IP to this host.
    fn look_at_tracked(&mut self) {
        self.tracked_at = Instant::now();
        // This call changes the field `synced` of `self.health`, so it comes before `self.health`
        // is copied below.
        self.look_at_flows();
        let Some(tracking) = &self.tracking else {
            return;
        };
        let facts: Vec<_> = tracking.view().into_iter().map(|one| one.fact).collect();
        self.looked |= facts.iter().all(|fact| fact.well.is_some());
        // Objects that were not checked yet are left out: they would count as failing.
        let known = facts.into_iter().filter(|fact| fact.well.is_some());
        let tracked = track::weigh(&known.collect::<Vec<_>>());
        let inspection = self.inputs.ec2.as_ref().map(aws::Worker::view);
        let inspection = inspection.and_then(|view| view.inspection);
        let next = LocalHealth {
            weight: tracked.weight,
            fault: tracked.fault.is_some(),
            checked: self.backends_checked && self.looked,
            hindered: inspection.is_some_and(|inspection| !inspection.is_clean()),
            synced: self.health.synced,
        };
        if next != self.health {
            self.health = next;
            self.step(Event::LocalHealth(next));
        }
    }

    fn step(&mut self, event: Event) {
        let actions = self.host.step(self.now(), event);
        self.act(actions);
        // This call comes after the event is handled: it may make the state machine take another
        // step, in which an overdue timer could fire before the event counts.
        self.look_at_flows();
        self.publish();
    }

    /// Updates whether this host is synced: it is if flows are not shared, if all flows of the peer
    /// were imported, or if the peer is not active and so has none to send.
    fn look_at_flows(&mut self) {
        let view = self.host.view(self.now());
        let nothing_to_get = view.peer.is_some_and(|peer| peer.state != State::Master);
        let synced =
            !self.actuators.shares_flows() || self.flow_sync.is_complete() || nothing_to_get;
        if synced != self.health.synced {
            self.health.synced = synced;
            let actions = self.host.step(self.now(), Event::LocalHealth(self.health));
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            let refused = self
                .actuators
                .act(action, &self.host, self.inputs.ec2.as_ref());
            if let Some(call) = refused {
                // The state machine has at most one EC2 call in flight, so this cannot happen. If
                // it did, the call would count as failed.
                tracing::error!("an EC2 call was ordered while another is in flight");
                let answer = Answer::Failed(call, Failure::Other);
                let more = self.host.step(self.now(), Event::Answer(answer));
                debug_assert!(more.is_empty(), "{more:?}");
            }
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        let link = self.actuators.link();
        // Without the link the peer's flows do not arrive any more. `health.synced` stays as it is
        // then: the pair state machine knows by itself that the link is down.
        let is_linked = link
            .as_ref()
            .is_some_and(|link| link.view.connected.is_some());
        let synced = self.health.synced && is_linked;
        let snapshot = PairSnapshot {
            view: self.host.view(now),
            clock: Clock::at(now),
            transitions: self.actuators.transitions().clone(),
            adverts: self.actuators.adverts(),
            link,
            ec2: self.actuators.ec2(self.inputs.ec2.as_ref()),
            addresses: self.actuators.addresses(),
            notified: self.actuators.notified(),
            tracked: self
                .tracking
                .as_ref()
                .map(Tracking::view)
                .unwrap_or_default(),
            flows: self.actuators.flows().map(|flows| (flows, synced)),
        };
        self.actuators.snapshots().publish(snapshot);
    }

    fn now(&self) -> Time {
        Time::after_start(self.origin.elapsed())
    }
}
