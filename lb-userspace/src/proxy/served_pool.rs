//! A pool as one worker serves one service from it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use tokio::{sync::watch, task::spawn_local};

use super::{
    balance::{Balancer, Chance, mix},
    counters::ServiceCounters,
    upstream::{Member, Upstreams},
};
use crate::{config::Name, pool::PoolView};

/// A pool as one worker serves one service from it. It changes in place, so that requests under way
/// see what became of their backends.
#[derive(Debug)]
pub(super) struct ServedPool {
    /// The pool.
    pub(super) name: Name,
    counters: Arc<ServiceCounters>,
    upstreams: Rc<Upstreams>,
    feed: RefCell<watch::Receiver<Arc<PoolView>>>,
    targets: RefCell<Targets>,
    random: Cell<u64>,
}

#[derive(Debug)]
struct Targets {
    view: Arc<PoolView>,
    members: Vec<Rc<Member>>,
    balancer: Balancer,
}

impl ServedPool {
    /// A pool whose views come from `feed`. It looks at the feed whenever that changes, so that idle
    /// connections to a backend that is out are closed at once.
    pub(super) fn new(
        name: Name,
        mut feed: watch::Receiver<Arc<PoolView>>,
        counters: &Arc<ServiceCounters>,
        (upstreams, seed): (&Rc<Upstreams>, u64),
    ) -> Rc<Self> {
        let view = Arc::clone(&feed.borrow_and_update());
        let targets = Targets::new(view, upstreams, counters);
        let pool = Rc::new(Self {
            name,
            counters: Arc::clone(counters),
            upstreams: Rc::clone(upstreams),
            feed: RefCell::new(feed),
            targets: RefCell::new(targets),
            random: Cell::new(mix(seed)),
        });
        pool.follow();
        pool
    }

    /// Takes the views from another feed, from the next request on.
    pub(super) fn update(self: &Rc<Self>, feed: watch::Receiver<Arc<PoolView>>) {
        let is_same = self.feed.borrow().same_channel(&feed);
        *self.feed.borrow_mut() = feed;
        self.look(true);
        if !is_same {
            self.follow();
        }
    }

    /// Ends with the pool, with the feed's sender, and with a newer feed.
    fn follow(self: &Rc<Self>) {
        let mut feed = self.feed.borrow().clone();
        let pool = Rc::downgrade(self);
        spawn_local(async move {
            while feed.changed().await.is_ok() {
                match pool.upgrade() {
                    Some(pool) if pool.feed.borrow().same_channel(&feed) => pool.look(false),
                    _ => return,
                }
            }
        });
    }

    /// Takes over what the checks and the operator said about the pool since the last look, or
    /// `anyway`.
    fn look(&self, anyway: bool) {
        let mut feed = self.feed.borrow_mut();
        if anyway || feed.has_changed().unwrap_or(false) {
            let view = Arc::clone(&feed.borrow_and_update());
            drop(feed);
            self.targets
                .borrow_mut()
                .update(view, &self.upstreams, &self.counters);
        }
    }

    /// The service does not use the pool any more. Requests under way may still try its backends.
    pub(super) fn drop_idle(&self) {
        for member in &self.targets.borrow().members {
            member.upstream.drop_idle();
        }
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
        self.look(false);
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
        let pool = &view.pool;
        let backends = pool.backends.iter();
        let members: Vec<_> = backends
            .map(|backend| {
                let upstream = upstreams.at(backend.address);
                let counters = counters.backend(&pool.name, &backend.name);
                Rc::new(Member::new(&backend.name, upstream, counters))
            })
            .collect();
        let backends = pool.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| (u32::from(backend.weight.get()), backend.address))
            .collect();
        let balancer = Balancer::new(pool.balance, &backends);
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
