//! A service as one worker serves it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use rustls::ServerConfig;
use tokio::sync::{Notify, watch};

use super::{
    balance::{Balancer, Chance, mix},
    connections::{Connections, Entry, OpenBackend},
    counters::ServiceCounters,
    memory::Spares,
    upstream::{Member, Upstreams},
};
use crate::{
    acme::Challenges,
    config::{Http, Name},
    pool::PoolView,
};

/// A service as one worker serves it. Its settings change in place, so that connections go on.
#[derive(Debug)]
pub(super) struct Front {
    /// The service.
    pub(super) name: Name,
    /// The address that clients connect to, as text.
    pub(super) local: String,
    /// What is counted.
    pub(super) counters: Arc<ServiceCounters>,
    /// Set when its connections are to end.
    pub(super) drain: Drain,
    /// Room for responses on their way.
    pub(super) spares: Rc<Spares>,
    /// The worker's connections.
    connections: Rc<Connections>,
    /// What is answered to a directory that validates a name.
    pub(super) challenges: Challenges,
    upstreams: Rc<Upstreams>,
    settings: RefCell<Settings>,
    targets: RefCell<Targets>,
    random: Cell<u64>,
}

/// What the services of a worker share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The backends.
    pub(super) upstreams: Rc<Upstreams>,
    /// Room for responses on their way.
    pub(super) spares: Rc<Spares>,
    /// The connections, to clients and to backends.
    pub(super) connections: Rc<Connections>,
    /// What is answered to a directory that validates a name.
    pub(super) challenges: Challenges,
}

/// What a new configuration can change.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The limits, this worker's own copy.
    pub(super) limits: Rc<Http>,
    /// TLS; `None`: plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// The pool.
    pub(super) pool: watch::Receiver<Arc<PoolView>>,
}

#[derive(Debug)]
struct Targets {
    view: Arc<PoolView>,
    members: Vec<Rc<Member>>,
    balancer: Balancer,
}

impl Front {
    /// A service at an address.
    pub(super) fn new(
        (name, listen): (Name, SocketAddr),
        counters: Arc<ServiceCounters>,
        shared: Shared,
        mut settings: Settings,
    ) -> Self {
        let view = Arc::clone(&settings.pool.borrow_and_update());
        let targets = Targets::new(view, &shared.upstreams, &counters);
        let seed = &raw const *shared.spares as usize as u64;
        Self {
            name,
            local: listen.to_string(),
            counters,
            drain: Drain::default(),
            spares: shared.spares,
            connections: shared.connections,
            challenges: shared.challenges,
            upstreams: shared.upstreams,
            settings: RefCell::new(settings),
            targets: RefCell::new(targets),
            random: Cell::new(mix(seed)),
        }
    }

    /// The limits as they are now.
    pub(super) fn limits(&self) -> Rc<Http> {
        Rc::clone(&self.settings.borrow().limits)
    }

    /// Whether clients connect over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.settings.borrow().tls.is_some()
    }

    /// TLS as it is now; `None`: plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.settings.borrow().tls.clone()
    }

    /// Takes new settings, from the next request and the next handshake on.
    pub(super) fn update(&self, settings: Settings) {
        *self.settings.borrow_mut() = settings;
        self.look_at_pool(true);
    }

    /// The pool's receiver, to wait for changes.
    pub(super) fn pool(&self) -> watch::Receiver<Arc<PoolView>> {
        self.settings.borrow().pool.clone()
    }

    /// Takes over what the checks and the operator said about the pool since the last look, or
    /// `anyway`.
    pub(super) fn look_at_pool(&self, anyway: bool) {
        let mut settings = self.settings.borrow_mut();
        if anyway || settings.pool.has_changed().unwrap_or(false) {
            let view = Arc::clone(&settings.pool.borrow_and_update());
            drop(settings);
            self.targets
                .borrow_mut()
                .update(view, &self.upstreams, &self.counters);
        }
    }

    /// A descriptor for a connection to a backend, if need be in place of one that no request uses.
    pub(super) fn open_backend(&self) -> Option<OpenBackend> {
        self.connections.open_backend().or_else(|| {
            self.upstreams.drop_idle();
            self.connections.open_backend()
        })
    }

    /// How many other backends a request may be sent to.
    pub(super) fn retries(&self) -> u8 {
        self.targets.borrow().view.pool.retries
    }

    /// Waits for what a backend does, unless it goes down while another one takes new requests.
    pub(super) async fn unless_down<T>(
        &self,
        member: &Member,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (mut down, mut work) = (pin!(member.is_down()), pin!(work));
        // With nobody else to ask, the backend may still come to it.
        let mut alone = false;
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            if !alone && down.as_mut().poll(context).is_ready() {
                if self.has_another(member) {
                    return Poll::Ready(None);
                }
                alone = true;
            }
            Poll::Pending
        })
        .await
    }

    fn has_another(&self, member: &Member) -> bool {
        let targets = self.targets.borrow();
        let mut others = targets.members.iter();
        others.any(|other| other.up.get() && !Rc::ptr_eq(&other.upstream, &member.upstream))
    }

    /// Chooses a backend for a request of a client, not one of `tried`; one that could not be
    /// reached a moment ago only where there is no other.
    pub(super) fn choose(&self, client: u64, tried: &[Rc<Member>]) -> Option<Rc<Member>> {
        self.look_at_pool(false);
        let random = mix(self.random.get());
        self.random.set(random);
        let chance = Chance { client, random };
        let mut targets = self.targets.borrow_mut();
        let Targets {
            members, balancer, ..
        } = &mut *targets;
        let untried = |number: usize| {
            let upstream = &members[number].upstream;
            members[number].up.get()
                && !tried
                    .iter()
                    .any(|other| Rc::ptr_eq(&other.upstream, upstream))
        };
        let load = |number: usize| members[number].upstream.load();
        let reachable = |number: usize| untried(number) && !members[number].upstream.is_avoided();
        balancer
            .choose(reachable, load, chance)
            .or_else(|| balancer.choose(untried, load, chance))
            .map(|number| Rc::clone(&members[number]))
    }
}

impl Targets {
    fn new(view: Arc<PoolView>, upstreams: &Upstreams, counters: &ServiceCounters) -> Self {
        let members: Vec<_> = view
            .pool
            .backends
            .iter()
            .map(|backend| {
                let upstream = upstreams.at(backend.address);
                Rc::new(Member::new(upstream, counters.backend(&backend.name)))
            })
            .collect();
        let backends = view.pool.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| (u32::from(backend.weight.get()), backend.address))
            .collect();
        let balancer = Balancer::new(view.pool.balance, &backends);
        let targets = Self {
            view,
            members,
            balancer,
        };
        targets.follow_states();
        targets
    }

    fn update(&mut self, view: Arc<PoolView>, upstreams: &Upstreams, counters: &ServiceCounters) {
        if *view.pool == *self.view.pool {
            self.view = view;
            self.follow_states();
        } else {
            for member in &self.members {
                member.up.set(false);
                member.upstream.drop_idle();
            }
            *self = Self::new(view, upstreams, counters);
        }
    }

    fn follow_states(&self) {
        for (member, state) in self.members.iter().zip(self.view.taken_states()) {
            member.follow(Some(state));
        }
    }
}

/// Tells connections that they are to end when they can.
#[derive(Debug, Default)]
pub(super) struct Drain {
    stage: Cell<Stage>,
    last: Notify,
    ending: Notify,
}

#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    #[default]
    Open,
    /// The response that comes next says that it is the last one. Idle connections stay a little:
    /// their client may be sending a request at this very moment.
    Last,
    /// Idle connections are closed.
    Ending,
}

impl Drain {
    /// Whether the next response is the last one of its connection.
    pub(super) fn is_last(&self) -> bool {
        self.stage.get() >= Stage::Last
    }

    /// Whether connections without a request are to be closed.
    pub(super) fn has_begun(&self) -> bool {
        self.stage.get() == Stage::Ending
    }

    /// Lets each connection answer once more.
    pub(super) fn announce(&self) {
        self.stage.set(self.stage.get().max(Stage::Last));
        self.last.notify_waiters();
    }

    /// Begins, idle connections first.
    pub(super) fn begin(&self) {
        self.stage.set(Stage::Ending);
        self.last.notify_waiters();
        self.ending.notify_waiters();
    }

    /// Ends it: connections that come from now on stay.
    pub(super) fn call_off(&self) {
        self.stage.set(Stage::Open);
    }

    /// Waits for the beginning. Check [`Self::has_begun`] first: a beginning before the first poll
    /// is not seen.
    pub(super) fn beginning(&self) -> impl Future<Output = ()> {
        self.ending.notified()
    }

    /// Waits for the announcement. Check [`Self::is_last`] first.
    pub(super) fn announcement(&self) -> impl Future<Output = ()> {
        self.last.notified()
    }
}

/// The client at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address; that of IPv4 where it is one.
    pub(super) address: IpAddr,
    /// The address as text.
    pub(super) text: String,
    /// A hash of the address, the same in every worker and at every time.
    pub(super) hash: u64,
    /// Its connection among the others of the worker.
    pub(super) entry: Rc<Entry>,
    /// The fields that tell a backend of its certificate, with their line ends.
    pub(super) certificate: Option<Box<[u8]>>,
}

impl Peer {
    /// The client that connects from there.
    pub(super) fn new(address: IpAddr, entry: &Rc<Entry>) -> Self {
        let hash = match address {
            IpAddr::V4(address) => mix(u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                mix(mix(bits as u64) ^ (bits >> 64) as u64)
            }
        };
        Self {
            address,
            text: address.to_string(),
            hash,
            entry: Rc::clone(entry),
            certificate: None,
        }
    }

    /// Whether its `X-Forwarded-*` are believed.
    pub(super) fn is_trusted(&self, limits: &Http) -> bool {
        is_trusted(self.address, limits)
    }
}

/// Whether the `X-Forwarded-*` of a client are believed.
pub(super) fn is_trusted(client: IpAddr, limits: &Http) -> bool {
    let trusted = &limits.trusted_proxies;
    !trusted.is_empty() && trusted.iter().any(|proxy| proxy.to_canonical() == client)
}
